/* Included before every C file (-include, .cargo/config.toml). Only in libcurl's own files, redirects the two calls
   that make and free a TLS context to src/check/raw/contexts.rs, which keeps contexts for the next connection:
   OpenSSL looks up some eighty algorithms for each new context, a seventh of an HTTPS check's work. */
#ifdef BUILDING_LIBCURL
#define SSL_CTX_new sitewatch_ssl_ctx_new
#define SSL_CTX_free sitewatch_ssl_ctx_free
#endif
