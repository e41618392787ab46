//! Live view of `run` on a terminal. A thread of its own writes the frames: a terminal that takes nothing
//! (Ctrl-S, a dead line) must not hold up signals, `/health` or a stage.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::config::Config;
use crate::error::{Context, Error};
use crate::show::screen::{ENTER, LEAVE, Screen};
use crate::show::terminal;
use crate::show::text::Paint;
use crate::threads;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(250);
/// Most tries to give the terminal its old picture back.
const LEAVE_TRIES: u32 = 20;
/// Time between two of these tries.
const LEAVE_PAUSE: Duration = Duration::from_millis(10);

/// Screen that is being shown on the terminal.
pub struct View {
    /// Contents of the screen; the judge adds the outcomes of checks.
    pub screen: Arc<Mutex<Screen>>,
    /// False once no more frames may be written. The writer holds the lock during each frame.
    shown: Arc<Mutex<bool>>,
}

impl View {
    /// Shows the screen, if stdout is a terminal. The log goes to the screen too, if stderr is a terminal.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(config: &Config, node: &str, paint: Paint) -> Result<Option<View>, Error> {
        if !std::io::stdout().is_terminal() {
            return Ok(None);
        }
        let path = config.sqlite.path.display().to_string();
        let screen = Arc::new(Mutex::new(Screen::new(node, &path, clock::now_ms())));
        let shown = Arc::new(Mutex::new(true));
        let view = View { screen: Arc::clone(&screen), shown: Arc::clone(&shown) };
        let frames = threads::named("view").spawn(move || {
            write(ENTER);
            // The thread holds no data, so nobody waits for its end.
            while draw(&screen, &shown, paint) {
                thread::sleep(FRAME);
            }
        });
        frames.cannot("start a thread")?;
        if std::io::stderr().is_terminal() {
            let notes = Arc::clone(&view.screen);
            crate::log::divert(Some(Box::new(move |level, text| {
                let mut screen = notes.lock().unwrap_or_else(PoisonError::into_inner);
                screen.add_note(clock::now_ms(), level, text);
            })));
        }
        Ok(Some(view))
    }

    /// Gives the terminal its old picture back, and the log to stderr. Leaves the picture if a frame is stuck
    /// for 200 ms.
    pub fn close(&self) {
        crate::log::divert(None);
        for _ in 0..LEAVE_TRIES {
            match self.shown.try_lock() {
                Err(TryLockError::WouldBlock) => thread::sleep(LEAVE_PAUSE),
                Ok(mut shown) => {
                    *shown = false;
                    return write(LEAVE);
                }
                Err(TryLockError::Poisoned(_)) => return write(LEAVE),
            }
        }
    }
}

/// Writes a frame. Returns false once the view is closed.
fn draw(screen: &Mutex<Screen>, shown: &Mutex<bool>, paint: Paint) -> bool {
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    if *shown {
        let (columns, rows) = terminal::size(std::io::stdout()).unwrap_or((80, 24));
        let screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = screen.draw(clock::now_ms(), columns, rows, paint);
        drop(screen);
        write(&frame);
    }
    *shown
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone sends SIGHUP: a failed write needs no word of its own.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
