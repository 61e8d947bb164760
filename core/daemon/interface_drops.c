// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/interface_drops.h"

#include <errno.h>

void followed_counter_look(struct followed_counter *counter, uint64_t now)
{
	if (counter->seen)
		counter->sum += now >= counter->last ? now - counter->last : now;
	counter->seen = true;
	counter->last = now;
}

static void look(struct interface_drops *drops)
{
	struct error error = {0};
	struct netlink_link_drops now;
	if (netlink_link_drops_read(drops->netlink, drops->ifindex, &now, &error) != 0)
		return;
	followed_counter_look(&drops->tx, now.tx);
	followed_counter_look(&drops->rx, now.rx);
}

int interface_drops_open(struct interface_drops *drops, unsigned ifindex, struct error *error)
{
	*drops = (struct interface_drops){.mutex = PTHREAD_MUTEX_INITIALIZER, .ifindex = ifindex};
	drops->netlink = netlink_open(error);
	if (drops->netlink == NULL)
		return -EIO;
	look(drops);
	return 0;
}

void interface_drops_close(struct interface_drops *drops)
{
	netlink_close(drops->netlink);
	drops->netlink = NULL;
}

static int64_t figure(const struct followed_counter *counter)
{
	return counter->seen ? (int64_t)counter->sum : -1;
}

struct status_interface_drops interface_drops_read(struct interface_drops *drops)
{
	pthread_mutex_lock(&drops->mutex);
	look(drops);
	struct status_interface_drops figures = {.tx = figure(&drops->tx), .rx = figure(&drops->rx)};
	pthread_mutex_unlock(&drops->mutex);
	return figures;
}
