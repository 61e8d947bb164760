// SPDX-License-Identifier: Apache-2.0
/* What a cluster has the threads do: follow the fence, and take what other gateways forward. */
#include "core/gateway/threads.h"

#include <stdlib.h>
#include <string.h>

#include "workers/gateway_fence.h"

void gateway_threads_wake(struct gateway_threads *threads)
{
	for (unsigned i = 0; i < threads->plan.workers; i++)
		worker_wake(threads->workers[i]);
}

bool gateway_threads_fenced(const struct gateway_threads *threads, uint64_t version)
{
	for (unsigned i = 0; i < threads->plan.workers; i++) {
		if (!gateway_fenced(&threads->roles[i], version))
			return false;
	}
	return true;
}

/* One source is one thread's, so that what it sends keeps its order. */
int gateway_threads_forwarded(struct gateway_threads *threads, const struct forwarded *forwarded)
{
	struct inbox_message *message = malloc(sizeof *message);
	if (message == NULL)
		return -ENOMEM;
	message->kind = INBOX_FORWARDED;
	message->session_id = 0;
	message->forwarded.from = (struct endpoint){.remote = forwarded->source, .local = forwarded->local};
	message->forwarded.proven = forwarded->proven;
	message->forwarded.length = forwarded->length;
	memcpy(message->forwarded.message, forwarded->message, forwarded->length);
	unsigned thread = forwarded->source.sin6_port % threads->plan.handshakers;
	inbox_post(&threads->handshakers[thread]->inbox, message);
	return 0;
}
