// SPDX-License-Identifier: Apache-2.0
/* Whether a tunnel keeps the order of a UDP flow, from the namespace that it runs in to ADDRESS. A second thread
 * receives there, in the namespace NAMESPACE (a file below /run/netns).
 *
 *   order NAMESPACE ADDRESS DATAGRAMS
 *       Sends so many, numbered, of sizes that vary, now one by one and now in bursts, so that the flow is sometimes
 * one that sends little and sometimes one that sends much. Prints "SENT ARRIVED OVERTAKEN": the last are those that
 *       came after one with a higher number. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT = 5558,
	BATCH = 64,
	PAYLOAD_MIN = 8,
	PAYLOAD_MAX = 1372,
	BUFFER = 64 << 20,
	BURST_MAX = 600,
	PAUSE_MAX_US = 2000,
	QUIT_US = 200000, /* without an arrival, after the last was sent */
	CALM = 8,	  /* of so many phases one sends datagrams one by one */
};

struct receiver {
	int fd;
	_Atomic bool quit;
	uint64_t arrived, overtaken;
};

static void die(const char *what)
{
	fprintf(stderr, "order: %s (%s)\n", what, strerror(errno));
	exit(1);
}

static int open_socket(void)
{
	int size = BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
		die("no socket with a large buffer; it needs root");
	return fd;
}

/* A socket belongs to the namespace that its thread was in. */
static int open_far_socket(const char *namespace)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct timeval time = {.tv_usec = QUIT_US};
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(namespace, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
		die("the namespace cannot be entered");
	int fd = open_socket();
	if (setns(here, CLONE_NEWNET) != 0)
		die("no way back from the namespace");
	(void)close(here);
	(void)close(there);
	if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) != 0)
		die("the port in the namespace");
	return fd;
}

static void *receive(void *argument)
{
	static uint8_t buffers[BATCH][PAYLOAD_MAX];
	struct receiver *receiver = argument;
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	for (size_t i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = sizeof buffers[i]};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	uint64_t highest = 0;
	for (;;) {
		int count = recvmmsg(receiver->fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (count <= 0 && atomic_load(&receiver->quit))
			return NULL;
		for (int i = 0; i < count; i++) {
			uint64_t number;
			memcpy(&number, buffers[i], sizeof number);
			receiver->arrived++;
			if (number < highest)
				receiver->overtaken++;
			else
				highest = number;
		}
	}
}

static uint32_t random_below(uint32_t below)
{
	static uint64_t state = 0x9e3779b97f4a7c15; /* the same sequence in each run */
	state = state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((state >> 33) * below >> 31);
}

static void rest(uint32_t us)
{
	struct timespec time = {.tv_nsec = 1000L * us};
	(void)nanosleep(&time, NULL);
}

/* Datagrams from `first` on, numbered; of one size or of several. Returns the number of the next. */
static uint64_t send_burst(int fd, uint64_t first, uint32_t count, bool sizes_vary)
{
	static uint8_t payloads[BATCH][PAYLOAD_MAX];
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	size_t size = PAYLOAD_MIN + random_below(PAYLOAD_MAX - PAYLOAD_MIN + 1);
	for (uint32_t done = 0; done < count;) {
		uint32_t some = count - done < BATCH ? count - done : BATCH;
		for (uint32_t i = 0; i < some; i++) {
			uint64_t number = first + done + i;
			if (sizes_vary && random_below(4) == 0)
				size = PAYLOAD_MIN + random_below(PAYLOAD_MAX - PAYLOAD_MIN + 1);
			memcpy(payloads[i], &number, sizeof number);
			vectors[i] = (struct iovec){.iov_base = payloads[i], .iov_len = size};
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
		}
		int sent = sendmmsg(fd, messages, some, 0);
		if (sent < 0 && errno != EINTR && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
			die("a datagram cannot be sent");
		done += sent > 0 ? (uint32_t)sent : 0;
	}
	return first + count;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	uint64_t wanted = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
	if (wanted == 0 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: order NAMESPACE ADDRESS DATAGRAMS\n");
		return 2;
	}
	struct receiver receiver = {.fd = open_far_socket(argv[1])};
	pthread_t thread;
	int fd = open_socket();
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("no route to the other end");
	if ((errno = pthread_create(&thread, NULL, receive, &receiver)) != 0)
		die("no thread");
	uint64_t next = 1;
	while (next <= wanted) {
		if (random_below(CALM) != 0) {
			next = send_burst(fd, next, 1 + random_below(BURST_MAX), random_below(2) != 0);
			rest(random_below(PAUSE_MAX_US / 4));
			continue;
		}
		for (uint32_t left = random_below(BURST_MAX / 10); left != 0; left--) {
			next = send_burst(fd, next, 1, true);
			rest(random_below(PAUSE_MAX_US / 10));
		}
		rest(random_below(PAUSE_MAX_US));
	}
	atomic_store(&receiver.quit, true);
	(void)pthread_join(thread, NULL);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", next - 1, receiver.arrived, receiver.overtaken);
	return 0;
}
