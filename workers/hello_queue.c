// SPDX-License-Identifier: Apache-2.0
#include "workers/hello_queue.h"

#include <errno.h>
#include <stdlib.h>

int hello_queue_init(struct hello_queue *queue, uint32_t size)
{
	*queue = (struct hello_queue){.ring = malloc(size * sizeof *queue->ring), .size = size};
	return queue->ring != NULL ? 0 : -ENOMEM;
}

void hello_queue_deinit(struct hello_queue *queue)
{
	free(queue->ring);
	*queue = (struct hello_queue){0};
}

static struct waiting_hello *at(const struct hello_queue *queue, uint32_t i)
{
	return &queue->ring[(queue->oldest + i) & (queue->size - 1)];
}

const struct waiting_hello *hello_queue_take_oldest(struct hello_queue *queue)
{
	if (queue->count == 0)
		return NULL;
	const struct waiting_hello *hello = at(queue, 0);
	/* One that was empty begins at its first page: as a rule no other is ever touched. */
	queue->oldest = --queue->count != 0 ? queue->oldest + 1 : 0;
	return hello;
}

const struct waiting_hello *hello_queue_take_newest(struct hello_queue *queue)
{
	return queue->count != 0 ? at(queue, --queue->count) : NULL;
}

bool hello_queue_put(struct hello_queue *queue, const struct endpoint *from, const uint8_t *message, uint32_t size,
		     uint64_t now)
{
	bool full = queue->count == queue->size;
	if (full)
		(void)hello_queue_take_oldest(queue);
	struct waiting_hello *hello = at(queue, queue->count++);
	hello->arrived = now;
	hello->from = *from;
	hello->proven = hello->forwarded = false;
	memcpy(hello->message, message, size);
	return !full;
}

struct waiting_hello *hello_queue_newest(struct hello_queue *queue)
{
	return at(queue, queue->count - 1);
}

uint32_t hello_queue_expire(struct hello_queue *queue, uint64_t now)
{
	uint32_t before = queue->count;
	while (queue->count != 0 && now - at(queue, 0)->arrived > HELLO_QUEUE_LIFE_NS)
		(void)hello_queue_take_oldest(queue);
	return before - queue->count;
}

uint32_t hello_queue_clear(struct hello_queue *queue)
{
	uint32_t count = queue->count;
	queue->count = 0;
	return count;
}
