// SPDX-License-Identifier: Apache-2.0
/* UDP to many addresses at once, of which the first is sent more, for perf/bench/scenarios/fairness:
 *
 *   shares PAYLOAD TRAIN SECONDS RATE GREEDY ADDRESS...
 *
 * Open loop: RATE packets a second to each address, GREEDY times as many to the first; 0: as fast as it goes, to each
 * as many. TRAIN packets of one address are one system call (UDP_SEGMENT). A sender that falls behind leaves out of all
 * in proportion. Prints "SENT_TO_THE_FIRST SENT_TO_THE_OTHERS SECONDS", at SIGTERM too. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/clock.h"

enum {
	PORT = 5558,
	ADDRESSES_MAX = 1024,
	BYTES_MAX = 65000, /* of a train */
	TICK_NS = 100000,
	BEHIND_MAX_NS = 1000000, /* what is due for longer is left out */
};

struct target {
	struct sockaddr_in address;
	double rate;   /* packets a second */
	double issued; /* sent or left out */
	uint64_t sent;
};

static struct target targets[ADDRESSES_MAX];
static uint8_t payload[BYTES_MAX];
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static uint64_t now(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static double number(const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);
	if (*end == '\0' && value >= least && value <= most)
		return value;
	fprintf(stderr, "shares: \"%s\" is not a number from %g to %g\n", text, least, most);
	exit(2);
}

static void send_train(int fd, struct target *target, size_t size, unsigned train)
{
	ssize_t result = sendto(fd, payload, size * train, 0, (struct sockaddr *)&target->address,
				sizeof target->address);
	if (result > 0) {
		target->sent += train;
	} else if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
		perror("shares: a train cannot be sent");
		exit(1);
	}
}

/* Whether anything was due. */
static bool send_due(int fd, struct target *target, size_t size, unsigned train, double elapsed)
{
	double due = elapsed * target->rate - target->issued;
	double most = target->rate * BEHIND_MAX_NS / (double)NS_PER_S + train;
	if (due > most)
		target->issued += due - most;
	bool sent = false;
	for (; elapsed * target->rate - target->issued >= train && stop == 0; sent = true) {
		send_train(fd, target, size, train);
		target->issued += train;
	}
	return sent;
}

static double run(int fd, size_t count, size_t size, unsigned train, double seconds)
{
	uint64_t start = now();
	double elapsed = 0;
	while (stop == 0 && elapsed < seconds) {
		bool sent = false;
		for (size_t i = 0; i < count; i++) {
			if (targets[i].rate == 0)
				send_train(fd, &targets[i], size, train);
			sent = send_due(fd, &targets[i], size, train, elapsed) || targets[i].rate == 0 || sent;
		}
		if (!sent)
			(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = TICK_NS}, NULL);
		elapsed = (double)(now() - start) / (double)NS_PER_S;
	}
	return elapsed;
}

static int open_socket(int size, int train)
{
	int buffer = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0 ||
	    (train > 1 && setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size) != 0)) {
		perror("shares: no socket as it is needed");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 7 || argc - 6 > ADDRESSES_MAX) {
		fputs("usage: shares PAYLOAD TRAIN SECONDS RATE GREEDY ADDRESS...\n", stderr);
		return 2;
	}
	size_t count = (size_t)argc - 6, size = (size_t)number(argv[1], 1, 1400);
	size_t most = BYTES_MAX / size;
	unsigned train = (unsigned)number(argv[2], 1, (double)most);
	double seconds = number(argv[3], 0.01, 3600), rate = number(argv[4], 0, 1e9), greedy = number(argv[5], 1, 1e6);
	for (size_t i = 0; i < count; i++) {
		targets[i] = (struct target){.address = {.sin_family = AF_INET, .sin_port = htons(PORT)},
					     .rate = i == 0 ? rate * greedy : rate};
		if (inet_pton(AF_INET, argv[6 + i], &targets[i].address.sin_addr) != 1) {
			fprintf(stderr, "shares: \"%s\" is no IPv4 address\n", argv[6 + i]);
			return 2;
		}
	}
	(void)prctl(PR_SET_TIMERSLACK, 1L);
	(void)signal(SIGTERM, on_signal);
	int fd = open_socket((int)size, (int)train);
	double took = run(fd, count, size, train, seconds);
	uint64_t others = 0;
	for (size_t i = 1; i < count; i++)
		others += targets[i].sent;
	printf("%" PRIu64 " %" PRIu64 " %.6f\n", targets[0].sent, others, took);
	return 0;
}
