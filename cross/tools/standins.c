/* Empty versions of library functions that nothing here can reach, but that no build option leaves out. Linked before
   the archives of the libraries, so that the linker does not take the code behind them. */
#include <stddef.h>
#include <stdint.h>

/* librdkafka's mock cluster for tests, 150 KB. Only the setting test.mock.num.brokers starts it, and our configuration
   refuses that setting. */

void *rd_kafka_mock_cluster_new(void *rk, int brokers) {
    (void)rk;
    (void)brokers;
    return NULL; /* librdkafka then reports that it cannot */
}

const char *rd_kafka_mock_cluster_bootstraps(const void *cluster) {
    (void)cluster;
    return "";
}

void rd_kafka_mock_cluster_destroy(void *cluster) {
    (void)cluster;
}

int rd_kafka_mock_broker_set_rtt(void *cluster, int broker, int rtt_ms) {
    (void)cluster;
    (void)broker;
    (void)rtt_ms;
    return 0;
}

int unittest_mock_cluster(void) {
    return 1; /* of librdkafka's own tests, which nothing calls */
}

/* The slower and denser variants of LZ4, 30 KB, which librdkafka uses from compression.level 3 on. Here every level
   compresses like the default, in the memory that librdkafka has for the denser variant, which is larger. */
int LZ4_sizeofState(void);
int LZ4_compress_fast_extState(void *state, const char *from, char *to, int size, int to_max, int acceleration);

int LZ4_sizeofStateHC(void) {
    return LZ4_sizeofState();
}

void *LZ4_initStreamHC(void *state, size_t size) {
    (void)size;
    return state;
}

void LZ4_resetStreamHC_fast(void *state, int level) {
    (void)state;
    (void)level;
}

void LZ4_setCompressionLevel(void *state, int level) {
    (void)state;
    (void)level;
}

void LZ4_favorDecompressionSpeed(void *state, int favor) {
    (void)state;
    (void)favor;
}

void LZ4_attach_HC_dictionary(void *state, const void *dictionary) {
    (void)state;
    (void)dictionary;
}

int LZ4_loadDictHC(void *state, const char *dictionary, int size) {
    (void)state;
    (void)dictionary;
    (void)size;
    return 0;
}

int LZ4_saveDictHC(void *state, char *to, int size) {
    (void)state;
    (void)to;
    (void)size;
    return 0;
}

int LZ4_compress_HC_extStateHC_fastReset(void *state, const char *from, char *to, int size, int to_max, int level) {
    (void)level;
    return LZ4_compress_fast_extState(state, from, to, size, to_max, 1);
}

int LZ4_compress_HC_continue(void *state, const char *from, char *to, int size, int to_max) {
    return LZ4_compress_fast_extState(state, from, to, size, to_max, 1);
}

/* OpenSSL's key derivations of SSH, Kerberos, NIST's SP 800-56C and 800-108, X9.42, X9.63, PVK files and random
   generators. They are found only by name, and TLS, SCRAM and encrypted keys never ask for them. Each one answers
   that it cannot be made. Numbers: OSSL_FUNC_KDF_NEWCTX, _FREECTX and _DERIVE. */
struct dispatch {
    int number;
    void (*function)(void);
};

static void *kdf_new(void *provider) {
    (void)provider;
    return NULL;
}

static void kdf_free(void *context) {
    (void)context;
}

static int kdf_derive(void *context, unsigned char *key, size_t length, const void *parameters) {
    (void)context;
    (void)key;
    (void)length;
    (void)parameters;
    return 0;
}

#define WITHOUT_KDF(name)                                            \
    const struct dispatch ossl_kdf_##name##_functions[] = {          \
        {1, (void (*)(void))kdf_new},                                \
        {3, (void (*)(void))kdf_free},                               \
        {5, (void (*)(void))kdf_derive},                             \
        {0, NULL},                                                   \
    };
WITHOUT_KDF(sshkdf)
WITHOUT_KDF(krb5kdf)
WITHOUT_KDF(sskdf)
WITHOUT_KDF(x963_kdf)
WITHOUT_KDF(x942_kdf)
WITHOUT_KDF(kbkdf)
WITHOUT_KDF(pvk)
WITHOUT_KDF(hmac_drbg)

#ifdef __aarch64__
/* OpenSSL's ciphers AES-*-CBC-HMAC-SHA*-ETM, 75 KB. They are found only by name, and TLS never asks for them. The
   answers are those of OpenSSL on a machine without them. */
#define WITHOUT_ETM(sha)                                           \
    int ossl_cipher_capable_aes_cbc_hmac_##sha##_etm(void) {       \
        return 0;                                                  \
    }                                                              \
    const void *ossl_prov_cipher_hw_aes_cbc_hmac_##sha##_etm(void) { \
        return NULL;                                               \
    }
WITHOUT_ETM(sha1)
WITHOUT_ETM(sha256)
WITHOUT_ETM(sha512)

/* OpenSSL's second AES-GCM, 26 KB, for cores of servers: calls the first one instead, which gives the same result.
   Both process `bits` bits of `in`, a multiple of 128, and return the number of bytes done. */
#define AS_FIRST(which)                                                                             \
    size_t aes_gcm_##which##_kernel(const uint8_t *in, uint64_t bits, uint8_t *out, uint64_t *state, \
                                    uint8_t *counter, const void *key);                             \
    size_t unroll8_eor3_aes_gcm_##which##_kernel(const uint8_t *in, uint64_t bits, uint8_t *out,    \
                                                 uint64_t *state, uint8_t *counter, const void *key) { \
        return aes_gcm_##which##_kernel(in, bits, out, state, counter, key);                        \
    }
AS_FIRST(enc_128)
AS_FIRST(enc_192)
AS_FIRST(enc_256)
AS_FIRST(dec_128)
AS_FIRST(dec_192)
AS_FIRST(dec_256)
#endif

#ifdef __mips__
/* A function that neither Zig nor musl has on MIPS. */
_Bool is_lock_free(size_t size, const volatile void *at) __asm__("__atomic_is_lock_free");
_Bool is_lock_free(size_t size, const volatile void *at) {
    (void)at;
    return size <= sizeof(void *);
}
#endif
