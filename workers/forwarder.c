// SPDX-License-Identifier: Apache-2.0
#include "workers/forwarder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void free_owners(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct forward_owners, rcu));
}

int forwarder_set_owners(struct forwarder *forwarder, const struct sockaddr_in6 of[BLOCK_COUNT])
{
	struct forward_owners *owners = calloc(1, sizeof *owners);
	if (owners == NULL)
		return -ENOMEM;
	memcpy(owners->of, of, sizeof owners->of);
	struct forward_owners *before = atomic_load_explicit(&forwarder->owners, memory_order_relaxed);
	rcu_publish(&forwarder->owners, owners);
	if (before != NULL)
		rcu_after_readers(&before->rcu, free_owners);
	return 0;
}

void forwarder_deinit(struct forwarder *forwarder)
{
	free(atomic_load_explicit(&forwarder->owners, memory_order_relaxed));
	atomic_store_explicit(&forwarder->owners, NULL, memory_order_relaxed);
}

bool forwarder_send(const struct forwarder *forwarder, struct forward_sender *sender, unsigned block,
		    const struct forwarded *forwarded)
{
	uint8_t datagram[FORWARD_MAX];
	const struct forward_owners *owners = rcu_read(&forwarder->owners);
	if (forwarder->fd < 0 || owners == NULL || owners->of[block].sin6_family == 0 ||
	    !forward_possible(&forwarded->source))
		return false;
	size_t length = forward_write(forwarder->key, sender, clock_wall(forwarder->clock), forwarded, datagram);
	const struct sockaddr *to = (const struct sockaddr *)&owners->of[block];
	return sendto(forwarder->fd, datagram, length, MSG_DONTWAIT | MSG_NOSIGNAL, to, sizeof owners->of[block]) ==
	       (ssize_t)length;
}
