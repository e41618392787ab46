/* librdkafka has a cluster for tests built in, which is 150 KB. Its setting test.mock.num.brokers
   alone starts one, and our configuration refuses that. With its doors defined here, in a file that
   is linked before librdkafka's archive, nothing asks for what is behind them. */
#include <stddef.h>

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
