// SPDX-License-Identifier: Apache-2.0
/* The service manager's store of descriptors: what is put there stays open when this process ends, by whatever means,
 * and is handed to the next process of the unit (sd_listen_fds_with_names(3), FileDescriptorStoreMax= of
 * systemd.service(5)). The manager drops it when the unit is stopped. Control thread. */
#pragma once

#include "core/host/descriptor_list.h"
#include "core/host/notify.h"

enum { STORE_MOST = 512 /* FileDescriptorStoreMax of our unit; $FDSTORE of systemd 254 and later takes precedence */ };

struct store {
	const struct notify *notify;
	size_t most;		     /* descriptors */
	struct descriptor_list kept; /* what the manager has of us: descriptors are not ours to close */
};

/* What the manager handed to this process, now in `given`, without blocking and not inherited by child processes; an
 * empty list is the rule. Removes the manager's variables from the environment. -EPROTO with `error`: what it says of
 * them cannot be; the list has what there was. -ENOMEM. Before other files are opened. */
int store_take(struct store *store, const struct notify *notify, struct descriptor_list *given, struct error *error);

/* Has the manager give up all of a list, and closes it. Returns when that is done, or cannot be waited for any longer.
 */
void store_refuse(struct store *store, struct descriptor_list *given);

/* The same without waiting: at the end. */
void store_give_up(struct store *store, struct descriptor_list *given);

/* Has the manager keep all of a list, whose descriptors stay the caller's; those that it handed to this process
 * (`adopted`) it has. The list is the store's from here on. 0; or a negative errno with `error` and nothing kept:
 * -ENOTCONN without a manager, -E2BIG. */
int store_keep(struct store *store, struct descriptor_list *list, bool adopted, struct error *error);

/* At the end: nothing is to be handed to another process. Does not wait. Again is allowed. */
void store_empty(struct store *store);

/* At the end when the next process is to get it: frees this side's list. */
void store_leave(struct store *store);
