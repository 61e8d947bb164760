// SPDX-License-Identifier: Apache-2.0
/* Read-copy-update by liburcu's QSBR flavour: readers pay nothing per access. Everything that uses RCU includes this.
 *
 * A thread that reads calls rcu_join() once, then calls rcu_quiescent() between batches, when it holds no pointer that
 * RCU protects, and is rcu_offline() while it sleeps. A thread that unlinks an object defers freeing it with
 * rcu_after_readers(). At shutdown rcu_after_readers_barrier() waits for all deferred calls; its caller must be offline
 * or not registered.
 *
 * ThreadSanitizer does not see liburcu's ordering (its atomics are in assembly), so annotations state it here: what a
 * reader did before a quiescent state happens before the deferred calls. Desnoyers et al., "User-Level Implementations
 * of Read-Copy Update", IEEE TPDS 23 (2), 2012. */
#pragma once

#define RCU_QSBR
#define URCU_INLINE_SMALL_FUNCTIONS
#include <stdatomic.h>
#include <urcu-qsbr.h>
/* after the flavour */
#include <urcu-call-rcu.h>

#if defined(__SANITIZE_THREAD__)
#define RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TSAN 1
#endif
#endif

#ifdef RCU_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char rcu_tsan_order; /* the address that the annotations use; in rcu.c */
#define rcu_tsan_release() __tsan_release(&rcu_tsan_order)
#define rcu_tsan_acquire() __tsan_acquire(&rcu_tsan_order)
#else
#define rcu_tsan_release() ((void)0)
#define rcu_tsan_acquire() ((void)0)
#endif

static inline void rcu_join(void)
{
	rcu_register_thread();
}

static inline void rcu_leave(void)
{
	rcu_tsan_release();
	rcu_unregister_thread();
}

/* Quiescent state: the thread holds no pointer that RCU protects. Once per batch. */
static inline void rcu_quiescent(void)
{
	rcu_tsan_release();
	rcu_quiescent_state();
}

/* Around a sleep: grace periods do not wait for the thread in between. */
static inline void rcu_offline(void)
{
	rcu_tsan_release();
	rcu_thread_offline();
}

static inline void rcu_online(void)
{
	rcu_thread_online();
	rcu_tsan_acquire();
}

/* A pointer that RCU protects: published with release order by its one writer, read by any online thread. The C11
 * consume order that this needs is acquire on every compiler; it costs nothing on x86. */
#define rcu_publish(slot, pointer) atomic_store_explicit((slot), (pointer), memory_order_release)
#define rcu_read(slot)		   atomic_load_explicit((slot), memory_order_acquire)

/* Calls `callback(head)` on liburcu's own thread after all readers went through a quiescent state. The callback
 * starts with rcu_after_readers_begin(). Registered threads only; never blocks. */
static inline void rcu_after_readers(struct rcu_head *head, void (*callback)(struct rcu_head *head))
{
	rcu_tsan_release();
	call_rcu(head, callback);
}

static inline void rcu_after_readers_begin(void)
{
	rcu_tsan_acquire();
}

/* Waits until every callback deferred before has run. The caller is offline or not registered. */
static inline void rcu_after_readers_barrier(void)
{
	rcu_barrier();
	rcu_tsan_acquire();
}

/* Starts liburcu's thread for deferred calls, which inherits the current CPU mask: call before any thread is pinned.
 * The thread has all signals blocked, whatever the caller's mask. When it cannot be started liburcu prints that, and
 * the program ends with status 1: nothing else is open at that time. */
void rcu_start(void);

/* Calls `run(context)` on that thread and waits for its return. The caller is registered and holds nothing that RCU
 * protects. */
void rcu_run_on_thread(void (*run)(void *context), void *context);
