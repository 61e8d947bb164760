// SPDX-License-Identifier: Apache-2.0
/* Single UDP datagrams through any tunnel, for the benchmarks: from the namespace that it runs in to ADDRESS. A second
 * thread receives there, in the namespace NAMESPACE (a file below /run/netns). Both ends are one process, so that what
 * arrived is counted without a protocol of its own.
 *
 *   udp unaggregated NAMESPACE ADDRESS PAYLOAD SECONDS LOSS
 *       The highest rate at which at most LOSS (0.01) is lost, by a search in steps of SECONDS. Each datagram is a
 *       message of its own (sendmmsg, no segmentation offload). A step that failed is repeated once. Prints
 *       "KPPS tunnel", or "KPPS generator" where the sender could not go faster and nothing more was lost. Each step is
 *       logged on standard error.
 *   udp rate NAMESPACE ADDRESS PAYLOAD SECONDS RATE
 *       The same datagrams at RATE packets a second, or as fast as it goes (0); SIGTERM ends it earlier. Prints
 *       "SENT ARRIVED SECONDS".
 *   udp rtt NAMESPACE ADDRESS PAYLOAD SECONDS [MICROSECONDS [FILE]]
 *       One request at a time, answered there, at most one in so many microseconds: without that, moments with short
 *       round trips would hold more samples than those with long ones. Prints "P50 P99 REQUESTS LOST", in
 *       microseconds; a lost request counts as the time-out. Into FILE goes each round trip in the order in which they
 *       were made, a line each, "lost" for one that was not answered.
 *   udp connect NAMESPACE ADDRESS COMMAND...
 *       Prints the milliseconds from the start of COMMAND, a tunnel's client, to the first answer to a request through
 *       it; then ends it by SIGTERM. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "perf/record/stats.h"

enum {
	PORT = 5557,
	PAYLOAD_MIN = 8, /* the run and the number */
	PAYLOAD_MAX = 1400,
	BATCH = 64,
	BUFFER = 64 << 20,
	TICK_NS = 100000, /* between the bursts of a paced step */
	QUIT_NS = 50000000,
	/* What a generator that was not scheduled sends at once, to catch up. The rest is left out: a burst of
	 * milliseconds would measure queues. */
	BEHIND_MAX_NS = 1000000,
	SETTLED_NS = 50000000, /* so long after the last arrival nothing more is expected */
	ANSWER_TIMEOUT_MS = 1000,
	WARM_UP = 20,
	SAMPLES_MAX = 1 << 20,
	STEPS_MAX = 40,
	RUNS = 2 * STEPS_MAX + 3, /* each step twice, the first one without a rate; from 1 */
	CONNECT_RETRY_NS = 200000,
};

#define CONNECT_TIMEOUT_NS (10 * NS_PER_S)
#define STEP_FACTOR	   1.3
#define PRECISION	   1.03
#define RATE_MIN	   200.0
/* A generator that sends at least this part of the rate keeps up. */
#define KEPT_UP		   0.97

struct header {
	uint32_t run, number;
};

struct bench {
	int from, to;
	struct sockaddr_in address;
	size_t payload;
	pthread_t far_end;
	_Atomic bool quit;
	uint32_t run;
	/* Written by the far end alone. */
	_Atomic uint64_t received[RUNS]; /* of each run */
	_Atomic uint64_t last;		 /* when anything arrived */
};

struct step {
	uint64_t sent, received;
	double seconds, sent_rate, received_rate, loss;
};

_Noreturn __attribute__((format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("udp: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

static uint64_t now(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t when)
{
	struct timespec time = {.tv_sec = (time_t)(when / NS_PER_S), .tv_nsec = (long)(when % NS_PER_S)};
	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int open_socket(void)
{
	int size = BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("no socket (%s)", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
		die("no large socket buffer (%s); it needs root", strerror(errno));
	return fd;
}

static void set_timeout(int fd, uint64_t ns)
{
	struct timeval time = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_usec = (suseconds_t)(ns % NS_PER_S / 1000)};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) != 0)
		die("no timeout for a socket (%s)", strerror(errno));
}

/* A socket belongs to the namespace that its thread was in. */
static int open_far_socket(const char *namespace)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(namespace, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
		die("%s: cannot be entered (%s)", namespace, strerror(errno));
	int fd = open_socket();
	if (setns(here, CLONE_NEWNET) != 0)
		die("no way back from %s (%s)", namespace, strerror(errno));
	(void)close(here);
	(void)close(there);
	if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0)
		die("UDP port %d in %s: %s", PORT, namespace, strerror(errno));
	set_timeout(fd, QUIT_NS);
	return fd;
}

/* --- the far end ------------------------------------------------------------------------------------------------- */

static void *count_arrivals(void *argument)
{
	static uint8_t buffers[BATCH][PAYLOAD_MAX];
	struct bench *bench = argument;
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	for (size_t i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = sizeof buffers[i]};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	while (!atomic_load_explicit(&bench->quit, memory_order_relaxed)) {
		int count = recvmmsg(bench->to, messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++) {
			struct header header;
			memcpy(&header, buffers[i], sizeof header);
			if (messages[i].msg_len == bench->payload && header.run < RUNS)
				stats_bump(&bench->received[header.run], 1);
		}
		if (count > 0)
			atomic_store_explicit(&bench->last, now(), memory_order_relaxed);
	}
	return NULL;
}

static void *answer(void *argument)
{
	struct bench *bench = argument;
	uint8_t buffer[PAYLOAD_MAX];
	while (!atomic_load_explicit(&bench->quit, memory_order_relaxed)) {
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		ssize_t size = recvfrom(bench->to, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
		if (size > 0)
			(void)sendto(bench->to, buffer, (size_t)size, 0, (struct sockaddr *)&from, length);
	}
	return NULL;
}

static void bench_open(struct bench *bench, const char *namespace, const char *address, void *(*far_end)(void *))
{
	bench->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT)};
	if (inet_pton(AF_INET, address, &bench->address.sin_addr) != 1)
		die("\"%s\" is no IPv4 address", address);
	bench->from = open_socket();
	bench->to = open_far_socket(namespace);
	int result = pthread_create(&bench->far_end, NULL, far_end, bench);
	if (result != 0)
		die("no thread (%s)", strerror(result));
}

static void bench_close(struct bench *bench)
{
	atomic_store_explicit(&bench->quit, true, memory_order_relaxed);
	(void)pthread_join(bench->far_end, NULL);
	(void)close(bench->from);
	(void)close(bench->to);
}

static void connect_socket(struct bench *bench)
{
	if (connect(bench->from, (struct sockaddr *)&bench->address, sizeof bench->address) != 0)
		die("no route to the other end (%s)", strerror(errno));
}

/* --- unaggregated datagrams --------------------------------------------------------------------------------------- */

static uint64_t send_burst(struct bench *bench, struct mmsghdr *messages, uint64_t count)
{
	uint64_t sent = 0;
	while (sent < count) {
		uint64_t left = count - sent;
		int result = sendmmsg(bench->from, messages, (unsigned)(left < BATCH ? left : BATCH), 0);
		if (result > 0)
			sent += (uint64_t)result;
		else if (errno != EINTR && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
			die("a datagram cannot be sent (%s)", strerror(errno));
	}
	return sent;
}

/* An open loop at `rate` for `seconds`; 0: as fast as it goes. Returns how many were sent. */
static uint64_t send_at(struct bench *bench, double rate, double seconds, double *took)
{
	static uint8_t payload[PAYLOAD_MAX];
	struct header header = {.run = bench->run};
	memcpy(payload, &header, sizeof header);
	struct iovec vector = {.iov_base = payload, .iov_len = bench->payload};
	struct mmsghdr messages[BATCH] = {0};
	for (size_t i = 0; i < BATCH; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};

	uint64_t start = now(), end = start + (uint64_t)(seconds * (double)NS_PER_S), time, sent = 0, left_out = 0;
	uint64_t at_once = (uint64_t)(rate * BEHIND_MAX_NS / (double)NS_PER_S) + BATCH;
	while ((time = now()) < end && stop == 0) {
		if (rate == 0) {
			sent += send_burst(bench, messages, BATCH);
			continue;
		}
		uint64_t due = (uint64_t)((double)(time - start) * rate / (double)NS_PER_S) - sent - left_out;
		if (due > at_once) {
			left_out += due - at_once;
			due = at_once;
		}
		sent += send_burst(bench, messages, due);
		sleep_until(time + TICK_NS);
	}
	*took = (double)(now() - start) / (double)NS_PER_S;
	return sent;
}

static struct step take_step(struct bench *bench, double rate, double seconds)
{
	double took;
	uint64_t received;
	bench->run++;
	uint64_t sent = send_at(bench, rate, seconds, &took), stopped = now(), last;
	do {
		sleep_until(now() + NS_PER_MS);
		received = atomic_load_explicit(&bench->received[bench->run], memory_order_relaxed);
		last = atomic_load_explicit(&bench->last, memory_order_relaxed);
		last = last > stopped ? last : stopped;
	} while (received < sent && now() - last < SETTLED_NS);
	received = received < sent ? received : sent;
	fprintf(stderr, "asked %.0f: sent %.0f, arrived %.0f a second\n", rate, (double)sent / took,
		(double)received / took);
	return (struct step){.sent = sent,
			     .received = received,
			     .seconds = took,
			     .sent_rate = (double)sent / took,
			     .received_rate = (double)received / took,
			     .loss = sent == 0 ? 1 : 1 - (double)received / (double)sent};
}

/* Whether `rate` was reached with at most `loss` lost, by one of two runs. step->sent_rate is what was sent. */
static bool passes(struct bench *bench, double rate, double seconds, double loss, struct step *step)
{
	struct step again;
	*step = take_step(bench, rate, seconds);
	if (step->loss <= loss && step->sent_rate >= KEPT_UP * rate)
		return true;
	again = take_step(bench, rate, seconds);
	if (again.loss <= loss && (step->loss > loss || again.sent_rate > step->sent_rate))
		*step = again;
	return step->loss <= loss;
}

/* Starts at the rate that arrives when it sends as fast as it goes, which is near the result. */
static void search(struct bench *bench, double seconds, double loss)
{
	struct step step;
	double low = passes(bench, 0, seconds, loss, &step) ? step.sent_rate : 0, high = 0;
	double rate = low != 0 ? low * STEP_FACTOR : step.received_rate > RATE_MIN ? step.received_rate : RATE_MIN;
	bool generator = false;
	for (int i = 0;
	     i < STEPS_MAX && rate >= RATE_MIN && !generator && (low == 0 || high == 0 || high / low > PRECISION);
	     i++) {
		if (passes(bench, rate, seconds, loss, &step)) {
			low = step.sent_rate > low ? step.sent_rate : low;
			generator = step.sent_rate < KEPT_UP * rate;
		} else {
			high = rate;
		}
		if (low == 0)
			rate = high / STEP_FACTOR;
		else if (high == 0)
			rate = low * STEP_FACTOR;
		else
			rate = (low + high) / 2;
	}
	if (low == 0)
		die("more than %g of the datagrams are lost at any rate", loss);
	printf("%.1f %s\n", low / 1000, generator ? "generator" : "tunnel");
}

static void print_step(const struct step *step)
{
	printf("%" PRIu64 " %" PRIu64 " %.6f\n", step->sent, step->received, step->seconds);
}

/* --- round trips ------------------------------------------------------------------------------------------------- */

static bool ask(struct bench *bench, struct header *header)
{
	uint8_t payload[PAYLOAD_MAX] = {0}, answered[PAYLOAD_MAX];
	header->number++;
	memcpy(payload, header, sizeof *header);
	if (send(bench->from, payload, bench->payload, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
		die("a request cannot be sent (%s)", strerror(errno));
	/* Late answers to earlier requests are skipped. */
	for (;;) {
		ssize_t size = recv(bench->from, answered, sizeof answered, 0);
		if (size < 0 && errno != EINTR && errno != ECONNREFUSED)
			return false;
		if (size == (ssize_t)bench->payload && memcmp(answered, payload, sizeof *header) == 0)
			return true;
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void write_round_trip(FILE *file, uint64_t ns, bool answered)
{
	if (file != NULL && answered)
		fprintf(file, "%.1f\n", (double)ns / 1e3);
	else if (file != NULL)
		fputs("lost\n", file);
}

static void round_trips(struct bench *bench, double seconds, double apart_us, FILE *file)
{
	uint64_t *samples = calloc(SAMPLES_MAX, sizeof *samples);
	struct header header = {.run = (uint32_t)getpid()};
	size_t count = 0, lost = 0;
	uint64_t apart = (uint64_t)(apart_us * (double)NS_PER_US);
	if (samples == NULL)
		die("no memory");
	set_timeout(bench->from, ANSWER_TIMEOUT_MS * NS_PER_MS);
	for (int i = 0; i < WARM_UP; i++)
		(void)ask(bench, &header);
	/* The first one comes as long after another as the rest. */
	sleep_until(now() + apart);
	uint64_t start = now(), end = now() + (uint64_t)(seconds * (double)NS_PER_S);
	while (count < SAMPLES_MAX && start < end) {
		bool arrived = ask(bench, &header);
		uint64_t answered = now(), next = start + apart;
		lost += !arrived;
		write_round_trip(file, answered - start, arrived);
		samples[count++] = answered - start;
		if (answered < next)
			sleep_until(next);
		start = answered < next ? now() : answered;
	}
	if (lost == count)
		die("none of %zu requests was answered", count);
	qsort(samples, count, sizeof *samples, compare);
	uint64_t median = samples[count / 2], high = samples[count * 99 / 100];
	printf("%.1f %.1f %zu %zu\n", (double)median / 1e3, (double)high / 1e3, count, lost);
	free(samples);
}

/* --- connecting -------------------------------------------------------------------------------------------------- */

static pid_t start_client(char **command)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	execvp(command[0], command);
	die("%s: %s", command[0], strerror(errno));
}

/* Errors are ignored: before the tunnel is up there is no route, and the next try sees. */
static bool answered(struct bench *bench, const struct header *header)
{
	uint8_t buffer[PAYLOAD_MAX];
	struct timespec wait = {.tv_nsec = CONNECT_RETRY_NS};
	struct pollfd readable = {.fd = bench->from, .events = POLLIN};
	(void)sendto(bench->from, header, sizeof *header, MSG_DONTWAIT, (struct sockaddr *)&bench->address,
		     sizeof bench->address);
	if (ppoll(&readable, 1, &wait, NULL) <= 0)
		return false;
	ssize_t size = recv(bench->from, buffer, sizeof buffer, MSG_DONTWAIT);
	return size == (ssize_t)sizeof *header && memcmp(buffer, header, sizeof *header) == 0;
}

static void time_start(struct bench *bench, char **command)
{
	struct header header = {.run = (uint32_t)getpid()};
	uint64_t start = now();
	pid_t pid = start_client(command);
	if (pid < 0)
		die("no process (%s)", strerror(errno));
	bool connected, ended;
	do {
		connected = answered(bench, &header);
		ended = !connected && waitpid(pid, NULL, WNOHANG) == pid;
	} while (!connected && !ended && now() - start < CONNECT_TIMEOUT_NS);
	uint64_t took = now() - start;
	if (!ended) {
		(void)kill(pid, SIGTERM);
		(void)waitpid(pid, NULL, 0);
	}
	if (!connected)
		die("%s did not connect", command[0]);
	printf("%.2f\n", (double)took / 1e6);
}

/* --- the command line -------------------------------------------------------------------------------------------- */

static double number(const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);
	if (*end != '\0' || !(value >= least && value <= most))
		die("\"%s\" is not a number from %g to %g", text, least, most);
	return value;
}

static FILE *open_file(const char *name)
{
	FILE *file = fopen(name, "we");
	if (file == NULL)
		die("%s: %s", name, strerror(errno));
	return file;
}

static void measure(struct bench *bench, const char *mode, int argc, char **argv)
{
	double seconds = number(argv[5], 0.01, 60);
	connect_socket(bench);
	if (strcmp(mode, "unaggregated") == 0) {
		search(bench, seconds, number(argv[6], 0, 1));
	} else if (strcmp(mode, "rate") == 0) {
		(void)signal(SIGTERM, on_signal);
		struct step step = take_step(bench, number(argv[6], 0, 1e9), seconds);
		print_step(&step);
	} else {
		FILE *file = argc > 7 ? open_file(argv[7]) : NULL;
		round_trips(bench, seconds, argc > 6 ? number(argv[6], 0, 1e6) : 0, file);
		if (file != NULL && fclose(file) != 0)
			die("%s: %s", argv[7], strerror(errno));
	}
}

int main(int argc, char **argv)
{
	static struct bench bench;
	const char *mode = argc >= 5 ? argv[1] : "";
	bool sending = argc == 7 && (strcmp(mode, "unaggregated") == 0 || strcmp(mode, "rate") == 0);
	bool rtt = argc >= 6 && argc <= 8 && strcmp(mode, "rtt") == 0, connecting = strcmp(mode, "connect") == 0;
	if (!sending && !rtt && !connecting) {
		fputs("usage: udp unaggregated NAMESPACE ADDRESS PAYLOAD SECONDS LOSS\n"
		      "       udp rate NAMESPACE ADDRESS PAYLOAD SECONDS RATE\n"
		      "       udp rtt NAMESPACE ADDRESS PAYLOAD SECONDS [MICROSECONDS [FILE]]\n"
		      "       udp connect NAMESPACE ADDRESS COMMAND...\n",
		      stderr);
		return 2;
	}
	(void)prctl(PR_SET_TIMERSLACK, 1L);
	bench.payload = connecting ? sizeof(struct header) : (size_t)number(argv[4], PAYLOAD_MIN, PAYLOAD_MAX);
	bench_open(&bench, argv[2], argv[3], sending ? count_arrivals : answer);
	if (connecting)
		time_start(&bench, argv + 4);
	else
		measure(&bench, mode, argc, argv);
	bench_close(&bench);
	return 0;
}
