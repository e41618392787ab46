//! Enums whose values have a word each: in records and tables, in the configuration, in errors.

/// Enum that `words!` declares, for functions that take any such enum.
pub trait Word: Copy + 'static {
    /// Returns each word with its value, in the order in which errors list them.
    fn choices() -> Vec<(&'static str, Self)>;
}

/// Declares an enum and, beside each value, its word. A value without one does not compile.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$of_value:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $name {
            $($(#[$of_value])* $value,)+
        }

        impl $name {
            /// All values, in the order in which errors list the words.
            $visibility const ALL: &'static [$name] = &[$($name::$value,)+];

            /// Returns the value's word.
            $visibility const fn as_str(self) -> &'static str {
                match self {
                    $($name::$value => $word,)+
                }
            }

            /// Returns the value that has this word.
            $visibility fn parse(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl $crate::words::Word for $name {
            fn choices() -> Vec<(&'static str, $name)> {
                $name::ALL.iter().map(|value| (value.as_str(), *value)).collect()
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// For the tests.
        #[derive(Debug, Clone, Copy, PartialEq)]
        enum Colour {
            /// Of blood.
            Red = "red",
            /// Of the sky.
            Blue = "blue",
        }
    }

    #[test]
    fn words_read_back() {
        for colour in Colour::ALL {
            assert_eq!(Colour::parse(colour.as_str()), Some(*colour));
        }
        assert_eq!(Colour::parse("green"), None);
        assert_eq!(Colour::parse("Red"), None);
        assert_eq!(Colour::choices(), [("red", Colour::Red), ("blue", Colour::Blue)]);
    }
}
