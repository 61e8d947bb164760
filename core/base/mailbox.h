// SPDX-License-Identifier: Apache-2.0
/* A slot for one heap object between two threads: the newest replaces an older one, and neither side blocks. Posting
 * hands ownership over; what it replaces comes back to the poster. The receiver is woken through an eventfd that it
 * may poll. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
	_Atomic(void *) item;
	int fd; /* readable when something was posted */
};

/* 0 or -1 with errno set. */
static inline int mailbox_init(struct mailbox *mailbox)
{
	atomic_init(&mailbox->item, NULL);
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return mailbox->fd < 0 ? -1 : 0;
}

/* Returns an item that was not taken, for the caller to free. */
static inline void *mailbox_deinit(struct mailbox *mailbox)
{
	if (mailbox->fd >= 0)
		close(mailbox->fd);
	mailbox->fd = -1;
	return atomic_exchange_explicit(&mailbox->item, NULL, memory_order_acquire);
}

/* Release: the receiver sees what the poster wrote to the item. Any thread. */
static inline void *mailbox_post(struct mailbox *mailbox, void *item)
{
	void *replaced = atomic_exchange_explicit(&mailbox->item, item, memory_order_acq_rel);
	uint64_t one = 1;
	ssize_t written = write(mailbox->fd, &one, sizeof one);
	(void)written; /* a full eventfd is readable already */
	return replaced;
}

/* The newest item, or NULL. The receiver's thread. */
static inline void *mailbox_take(struct mailbox *mailbox)
{
	/* First the wake-up, then the item. A wake-up whose item was taken before it came is drained here too, or a
	 * poll would return at once for ever. */
	uint64_t count;
	ssize_t got = read(mailbox->fd, &count, sizeof count);
	(void)got; /* may be drained already; the item counts, not the number */
	return atomic_exchange_explicit(&mailbox->item, NULL, memory_order_acq_rel);
}
