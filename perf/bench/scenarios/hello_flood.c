// SPDX-License-Identifier: Apache-2.0
/* A flood of HELLOs with forged source addresses: mac1 is valid, the rest is random.
 *
 *   hello_flood GATEWAY_IPV4 PORT GATEWAY_KEY PER_SECOND SECONDS [NETWORK/LENGTH]
 *
 * Open loop, from a raw socket (as root): each datagram from another random address of the network, 198.18.0.0/15
 * unless given, and port. Says at the end, or at SIGTERM, how many it sent. perf/bench/scenarios/flood uses it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/protocol/handshake.h"

enum {
	BATCH = 64,   /* datagrams in one system call */
	HELLOS = 256, /* different ones, used in turn */
	TURN_NS = 1000000,
};

struct datagram {
	struct iphdr ip;
	struct udphdr udp;
	uint8_t hello[WIRE_HELLO_SIZE];
} __attribute__((packed));

struct flood {
	int fd;
	struct sockaddr_in to;
	uint32_t network, host_mask; /* host order */
	uint64_t random;
	struct datagram datagrams[HELLOS];
	uint64_t sent, refused; /* datagrams */
};

static uint64_t now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* xorshift64*: addresses need no more. */
static uint32_t draw(struct flood *flood)
{
	flood->random ^= flood->random >> 12;
	flood->random ^= flood->random << 25;
	flood->random ^= flood->random >> 27;
	return (uint32_t)(flood->random * 0x2545f4914f6cdd1dull >> 32);
}

static void make_datagram(struct datagram *datagram, const struct sockaddr_in *to, const uint8_t key[KEY_SIZE])
{
	randombytes_buf(datagram->hello, sizeof datagram->hello);
	wire_header(datagram->hello, WIRE_VERSION, WIRE_HELLO, 0);
	mac_compute(datagram->hello + WIRE_HELLO_MAC1, key, datagram->hello, WIRE_HELLO_MAC1);
	memset(datagram->hello + WIRE_HELLO_MAC2, 0, MAC_SIZE);
	datagram->ip = (struct iphdr){.version = 4,
				      .ihl = sizeof datagram->ip / 4,
				      .tot_len = htons(sizeof *datagram),
				      .ttl = 64,
				      .protocol = IPPROTO_UDP,
				      .daddr = to->sin_addr.s_addr};
	datagram->udp = (struct udphdr){.dest = to->sin_port, .len = htons(sizeof *datagram - sizeof datagram->ip)};
}

/* The kernel computes the checksum of the IP header; one of 0 means none in UDP. */
static void send_batch(struct flood *flood, size_t count)
{
	struct mmsghdr headers[BATCH];
	struct iovec iov[BATCH];
	for (size_t i = 0; i < count; i++) {
		struct datagram *datagram = &flood->datagrams[(flood->sent + i) % HELLOS];
		datagram->ip.saddr = htonl(flood->network | (draw(flood) & flood->host_mask));
		datagram->udp.source = htons((uint16_t)(1024 + draw(flood) % 60000));
		iov[i] = (struct iovec){datagram, sizeof *datagram};
		headers[i].msg_hdr = (struct msghdr){
			.msg_name = &flood->to, .msg_namelen = sizeof flood->to, .msg_iov = &iov[i], .msg_iovlen = 1};
	}
	int sent = sendmmsg(flood->fd, headers, (unsigned)count, 0);
	if (sent > 0)
		flood->sent += (uint64_t)sent;
	else
		flood->refused += count;
}

static volatile sig_atomic_t ended;

static void end(int number)
{
	(void)number;
	ended = 1;
}

static void run(struct flood *flood, double per_second, double seconds)
{
	uint64_t start = now_ns(), last = start + (uint64_t)(seconds * (double)NS_PER_S), now = start;
	while (now < last && !ended) {
		uint64_t due = (uint64_t)((double)(now - start) / (double)NS_PER_S * per_second);
		while (flood->sent + flood->refused < due) {
			uint64_t left = due - flood->sent - flood->refused;
			send_batch(flood, left < BATCH ? left : BATCH);
		}
		struct timespec pause = {.tv_nsec = TURN_NS};
		(void)nanosleep(&pause, NULL);
		now = now_ns();
	}
	printf("%lu HELLOs in %.1f s, %lu refused\n", flood->sent, (double)(now - start) / (double)NS_PER_S,
	       flood->refused);
}

static int usage(void)
{
	fprintf(stderr, "usage: hello_flood GATEWAY_IPV4 PORT GATEWAY_KEY PER_SECOND SECONDS [NETWORK/LENGTH]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static struct flood flood;
	struct ip_prefix network;
	uint8_t public_key[KEY_SIZE], key[KEY_SIZE];
	if (argc < 6 || argc > 7 || keys_init(NULL) != 0 || !key_parse(argv[3], public_key) ||
	    !ip_prefix_parse(argc == 7 ? argv[6] : "198.18.0.0/15", &network) || network.address.family != 4 ||
	    inet_pton(AF_INET, argv[1], &flood.to.sin_addr) != 1)
		return usage();
	flood.to.sin_family = AF_INET;
	flood.to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	flood.host_mask = network.length < 32 ? UINT32_MAX >> network.length : 0;
	flood.network = load_be32(network.address.bytes) & ~flood.host_mask;
	randombytes_buf(&flood.random, sizeof flood.random);
	flood.random |= 1;
	mac1_key(key, public_key);
	for (size_t i = 0; i < HELLOS; i++)
		make_datagram(&flood.datagrams[i], &flood.to, key);
	flood.fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (flood.fd < 0) {
		fprintf(stderr, "hello_flood: raw socket: %s\n", strerror(errno));
		return 1;
	}
	(void)signal(SIGTERM, end);
	(void)signal(SIGINT, end);
	run(&flood, strtod(argv[4], NULL), strtod(argv[5], NULL));
	return 0;
}
