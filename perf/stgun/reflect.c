// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/reflect.h"

#include <linux/sock_diag.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/log.h"
#include "perf/record/stats.h"
#include "perf/stgun/packet.h"
#include "workers/udp.h"

enum {
	MESSAGES = 8,
	BUFFER = 8 << 20,
	RUNS = 64, /* counted at once: the one whose turn is next is forgotten */
	WAIT_MS = 100,
	SEND_TRIES = 100,
	ANSWER_BYTES = 65000,
};

struct run {
	_Atomic uint32_t number;
	_Atomic uint64_t packets, bytes; /* inner ones */
};

struct reflector {
	struct reflectors *all;
	struct udp_socket *socket;
	pthread_t thread;
	struct udp_message *messages;
	uint8_t *buffers, *answers;
	struct run runs[RUNS]; /* written by the thread alone */
};

struct reflectors {
	_Atomic bool quit;
	uint32_t count;
	struct reflector *threads;
};

static struct run *find_run(struct reflector *reflector, uint32_t number)
{
	struct run *run = &reflector->runs[number % RUNS];
	if (atomic_load_explicit(&run->number, memory_order_relaxed) != number) {
		atomic_store_explicit(&run->packets, 0, memory_order_relaxed);
		atomic_store_explicit(&run->bytes, 0, memory_order_relaxed);
		atomic_store_explicit(&run->number, number, memory_order_relaxed);
	}
	return run;
}

/* Bytes of IP and UDP header in front of a datagram's payload. */
static uint32_t headers_of(const struct udp_message *message)
{
	return (uint32_t)stgun_packet_headers(IN6_IS_ADDR_V4MAPPED(&message->endpoint.remote.sin6_addr) ? 4 : 6);
}

static bool send_one(struct reflector *reflector, const struct udp_message *message)
{
	for (int i = 0; i < SEND_TRIES; i++) {
		int sent = reflector->socket->ops->send(reflector->socket, message, 1);
		if (sent != -EAGAIN)
			return sent == 1;
		struct pollfd full = {.fd = reflector->socket->fd, .events = POLLOUT};
		(void)poll(&full, 1, 1);
	}
	return false;
}

/* A train; datagram by datagram where the kernel refuses it whole. What is lost here the generator misses. */
static void send_back(struct reflector *reflector, struct udp_message *message)
{
	if (reflector->socket->gso || message->length <= message->segment_size) {
		if (send_one(reflector, message) || message->length <= message->segment_size)
			return;
	}
	struct udp_datagrams datagrams = udp_datagrams(message);
	while (udp_datagrams_next(&datagrams)) {
		message->data = datagrams.data;
		message->length = datagrams.length;
		(void)send_one(reflector, message);
	}
}

static void send_answers(struct reflector *reflector, const struct udp_message *from, struct stgun_packet_stamp *stamp)
{
	uint32_t headers = headers_of(from);
	uint32_t size = stamp->size < headers + PACKET_STAMP_SIZE ? PACKET_STAMP_SIZE : stamp->size - headers;
	uint32_t count = stamp->answers, most = ANSWER_BYTES / size;
	count = count > most ? most : count;
	count = count > UDP_TRAIN_SEGMENTS ? UDP_TRAIN_SEGMENTS : count;
	stamp->kind = PACKET_ANSWER;
	stamp->answers = 0;
	/* What lies behind the stamps may be left over from other packets: it is never read. */
	for (uint32_t i = 0; i < count; i++)
		stgun_packet_stamp_write(reflector->answers + (size_t)i * size, stamp);
	struct udp_message message = {.data = reflector->answers,
				      .length = count * size,
				      .segment_size = (uint16_t)size,
				      .endpoint = from->endpoint};
	send_back(reflector, &message);
}

/* SO_MEMINFO: what a full receive buffer cost. */
static uint64_t overflows(const struct reflectors *all)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < all->count; i++) {
		uint32_t info[SK_MEMINFO_VARS] = {0};
		socklen_t length = sizeof info;
		if (getsockopt(all->threads[i].socket->fd, SOL_SOCKET, SO_MEMINFO, info, &length) == 0)
			sum += info[SK_MEMINFO_DROPS];
	}
	return sum;
}

static void send_told(struct reflector *reflector, const struct udp_message *from, struct stgun_packet_stamp *stamp)
{
	uint64_t packets = 0, bytes = 0;
	for (uint32_t i = 0; i < reflector->all->count; i++) {
		const struct run *run = &reflector->all->threads[i].runs[stamp->run % RUNS];
		if (atomic_load_explicit(&run->number, memory_order_relaxed) == stamp->run) {
			packets += atomic_load_explicit(&run->packets, memory_order_relaxed);
			bytes += atomic_load_explicit(&run->bytes, memory_order_relaxed);
		}
	}
	uint8_t payload[PACKET_TOLD_SIZE];
	stamp->kind = PACKET_TOLD;
	stgun_packet_stamp_write(payload, stamp);
	store_be64(payload + PACKET_STAMP_SIZE, packets);
	store_be64(payload + PACKET_STAMP_SIZE + 8, bytes);
	store_be64(payload + PACKET_STAMP_SIZE + 16, overflows(reflector->all));
	struct udp_message message = {.data = payload, .length = sizeof payload, .endpoint = from->endpoint};
	(void)send_one(reflector, &message);
}

/* Whether it goes back as it is: one answer of the same size for each packet of a train is the train itself. */
static bool echoes(const struct stgun_packet_stamp *stamp, uint32_t size)
{
	return stamp->kind == PACKET_DATA && stamp->answers == 1 && stamp->size == size;
}

static void take_train(struct reflector *reflector, struct udp_message *message)
{
	uint32_t headers = headers_of(message), echoed = 0;
	struct udp_datagrams datagrams = udp_datagrams(message);
	while (udp_datagrams_next(&datagrams)) {
		struct stgun_packet_stamp stamp;
		if (!stgun_packet_stamp_read(datagrams.data, datagrams.length, &stamp))
			continue;
		if (stamp.kind == PACKET_ASK) {
			send_told(reflector, message, &stamp);
		} else if (stamp.kind == PACKET_DATA) {
			struct run *run = find_run(reflector, stamp.run);
			stats_bump(&run->packets, 1);
			stats_bump(&run->bytes, datagrams.length + headers);
			if (echoes(&stamp, datagrams.length + headers) && echoed == datagrams.count - 1) {
				datagrams.data[4] = PACKET_ANSWER; /* the kind */
				echoed++;
			} else if (stamp.answers != 0) {
				send_answers(reflector, message, &stamp);
			}
		}
	}
	if (echoed == 0)
		return;
	uint32_t length = echoed * datagrams.step;
	message->length = length < message->length ? length : message->length;
	message->segment_size = (uint16_t)datagrams.step;
	send_back(reflector, message);
}

static void *reflector_run(void *argument)
{
	struct reflector *reflector = argument;
	while (!atomic_load_explicit(&reflector->all->quit, memory_order_relaxed)) {
		int received = reflector->socket->ops->receive(reflector->socket, reflector->messages, MESSAGES);
		for (int i = 0; i < received; i++)
			take_train(reflector, &reflector->messages[i]);
		if (received <= 0) {
			struct pollfd readable = {.fd = reflector->socket->fd, .events = POLLIN};
			(void)poll(&readable, 1, WAIT_MS);
		}
	}
	return NULL;
}

static int start(struct reflector *reflector, struct reflectors *all, struct udp_socket *socket, struct error *error)
{
	reflector->all = all;
	reflector->socket = socket;
	reflector->messages = calloc(MESSAGES, sizeof *reflector->messages);
	reflector->buffers = malloc((size_t)MESSAGES * UDP_MESSAGE_MAX);
	reflector->answers = calloc(1, ANSWER_BYTES);
	if (reflector->messages == NULL || reflector->buffers == NULL || reflector->answers == NULL)
		return error_set(error, -ENOMEM, "no memory for a thread");
	for (size_t m = 0; m < MESSAGES; m++)
		reflector->messages[m].data = reflector->buffers + m * UDP_MESSAGE_MAX;
	return 0;
}

static int run_threads(struct reflectors *all, const volatile sig_atomic_t *stop, uint32_t *running,
		       struct error *error)
{
	for (*running = 0; *running < all->count; ++*running) {
		struct reflector *reflector = &all->threads[*running];
		int result = pthread_create(&reflector->thread, NULL, reflector_run, reflector);
		if (result != 0)
			return error_set(error, -result, "no thread can be made (%s)", strerror(result));
	}
	log_info("answering");
	while (!*stop)
		(void)nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
	return 0;
}

static int answer(struct reflectors *all, struct udp_socket **sockets, const volatile sig_atomic_t *stop,
		  struct error *error)
{
	int result = 0;
	uint32_t running = 0;
	for (uint32_t i = 0; result == 0 && i < all->count; i++)
		result = start(&all->threads[i], all, sockets[i], error);
	if (result == 0)
		result = run_threads(all, stop, &running, error);
	atomic_store_explicit(&all->quit, true, memory_order_relaxed);
	for (uint32_t i = 0; i < running; i++)
		(void)pthread_join(all->threads[i].thread, NULL);
	for (uint32_t i = 0; i < all->count; i++) {
		free(all->threads[i].messages);
		free(all->threads[i].buffers);
		free(all->threads[i].answers);
	}
	return result;
}

int reflect_run(const struct stgun_options *options, const volatile sig_atomic_t *stop, struct error *error)
{
	struct udp_socket *sockets[STGUN_THREADS_MAX];
	struct udp_params params = {
		.address = options->listen, .port = options->listen_port, .buffer = BUFFER, .gso = true, .gro = true};
	struct reflectors all = {.count = options->threads};
	int result = udp_open_group(&params, options->threads, sockets, error);
	if (result != 0)
		return result;
	all.threads = calloc(all.count, sizeof *all.threads);
	if (all.threads != NULL)
		result = answer(&all, sockets, stop, error);
	else
		result = error_set(error, -ENOMEM, "no memory for threads");
	for (uint32_t i = 0; i < all.count; i++)
		udp_close(sockets[i]);
	free(all.threads);
	return result;
}
