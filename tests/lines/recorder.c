// SPDX-License-Identifier: Apache-2.0
#include "tests/lines/recorder.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINE_BITS = 6,
	SLOTS = 1 << 20, /* far more than lines are written while it is watched */
	NAMED = 10,	 /* shared lines that are shown */
};

struct slot {
	_Atomic uintptr_t line; /* address / line size; 0: free */
	_Atomic uint32_t writers;
	const void *_Atomic address, *_Atomic from; /* of the write that made it shared */
};

static struct slot slots[SLOTS];
static _Atomic bool measuring;
static uintptr_t left_out, left_out_end;
static _Thread_local uint32_t self; /* bit of the thread; 0: not watched */

void lines_watch(int thread)
{
	self = thread >= 0 ? 1u << thread : 0;
}

void lines_measure(bool on)
{
	atomic_store(&measuring, on);
}

void lines_leave_out(const void *memory, size_t size)
{
	left_out = (uintptr_t)memory;
	left_out_end = left_out + size;
}

static struct slot *find(uintptr_t line)
{
	for (uintptr_t i = line * 0x9e3779b97f4a7c15ull >> 44;; i++) {
		struct slot *slot = &slots[i % SLOTS];
		uintptr_t there = 0;
		if (atomic_compare_exchange_strong(&slot->line, &there, line) || there == line)
			return slot;
	}
}

static void note(const void *address, size_t size, const void *from)
{
	if (self == 0 || !atomic_load_explicit(&measuring, memory_order_relaxed) || size == 0)
		return;
	uintptr_t first = (uintptr_t)address;
	if (first >= left_out && first < left_out_end)
		return;
	for (uintptr_t line = first >> LINE_BITS; line <= (first + size - 1) >> LINE_BITS; line++) {
		struct slot *slot = find(line);
		uint32_t before = atomic_load_explicit(&slot->writers, memory_order_relaxed);
		if ((before & self) != 0)
			continue;
		atomic_fetch_or(&slot->writers, self);
		atomic_store(&slot->address, address);
		atomic_store(&slot->from, from);
	}
}

struct lines_found lines_find(unsigned threads)
{
	struct lines_found found = {0};
	for (size_t i = 0; i < SLOTS; i++) {
		uint32_t writers = atomic_load(&slots[i].writers) & threads;
		found.written += writers != 0;
		if (__builtin_popcount(writers) < 2)
			continue;
		if (found.shared++ < NAMED)
			printf("# line %#lx: threads %#x; the last new one wrote to %p, from %p\n",
			       (unsigned long)(slots[i].line << LINE_BITS), writers, slots[i].address, slots[i].from);
	}
	return found;
}

void lines_reset(void)
{
	for (size_t i = 0; i < SLOTS; i++) {
		atomic_store(&slots[i].line, 0);
		atomic_store(&slots[i].writers, 0);
	}
}

/* --- what the compiler calls -------------------------------------------------------------------------------------- */

/* Orders are not looked at: all are sequentially consistent, which is at least what was asked for. */

#define FROM __builtin_return_address(0)

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void __tsan_acquire(void *address);
void __tsan_acquire(void *address)
{
	(void)address;
}

void __tsan_release(void *address);
void __tsan_release(void *address)
{
	(void)address;
}

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__sync_synchronize();
}

#define RANGE(name, records)                          \
	void name(void *address, unsigned long size); \
	void name(void *address, unsigned long size)  \
	{                                             \
		if (records)                          \
			note(address, size, FROM);    \
	}
RANGE(__tsan_read_range, false)
RANGE(__tsan_write_range, true)

#define PLAIN(size)                             \
	void __tsan_read##size(void *address);  \
	void __tsan_read##size(void *address)   \
	{                                       \
		(void)address;                  \
	}                                       \
	void __tsan_write##size(void *address); \
	void __tsan_write##size(void *address)  \
	{                                       \
		note(address, size, FROM);      \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define FETCH(bits, name)                                                                                     \
	uint##bits##_t __tsan_atomic##bits##_##name(volatile void *address, uint##bits##_t value, int order); \
	uint##bits##_t __tsan_atomic##bits##_##name(volatile void *address, uint##bits##_t value, int order)  \
	{                                                                                                     \
		(void)order;                                                                                  \
		note((const void *)address, sizeof value, FROM);                                              \
		return __atomic_##name((volatile uint##bits##_t *)address, value, __ATOMIC_SEQ_CST);          \
	}
#define COMPARE(bits, name)                                                                                        \
	bool __tsan_atomic##bits##_compare_exchange_##name(volatile void *address, void *expected,                 \
							   uint##bits##_t value, int order, int failure);          \
	bool __tsan_atomic##bits##_compare_exchange_##name(volatile void *address, void *expected,                 \
							   uint##bits##_t value, int order, int failure)           \
	{                                                                                                          \
		(void)order, (void)failure;                                                                        \
		note((const void *)address, sizeof value, FROM);                                                   \
		return __atomic_compare_exchange_n((volatile uint##bits##_t *)address, (uint##bits##_t *)expected, \
						   value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
	}
#define ATOMIC(bits)                                                                                            \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile void *address, int order);                     \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile void *address, int order)                      \
	{                                                                                                       \
		(void)order;                                                                                    \
		return __atomic_load_n((const volatile uint##bits##_t *)address, __ATOMIC_SEQ_CST);             \
	}                                                                                                       \
	void __tsan_atomic##bits##_store(volatile void *address, uint##bits##_t value, int order);              \
	void __tsan_atomic##bits##_store(volatile void *address, uint##bits##_t value, int order)               \
	{                                                                                                       \
		(void)order;                                                                                    \
		note((const void *)address, sizeof value, FROM);                                                \
		__atomic_store_n((volatile uint##bits##_t *)address, value, __ATOMIC_SEQ_CST);                  \
	}                                                                                                       \
	uint##bits##_t __tsan_atomic##bits##_exchange(volatile void *address, uint##bits##_t value, int order); \
	uint##bits##_t __tsan_atomic##bits##_exchange(volatile void *address, uint##bits##_t value, int order)  \
	{                                                                                                       \
		(void)order;                                                                                    \
		note((const void *)address, sizeof value, FROM);                                                \
		return __atomic_exchange_n((volatile uint##bits##_t *)address, value, __ATOMIC_SEQ_CST);        \
	}                                                                                                       \
	FETCH(bits, fetch_add)                                                                                  \
	FETCH(bits, fetch_sub)                                                                                  \
	FETCH(bits, fetch_and)                                                                                  \
	FETCH(bits, fetch_or)                                                                                   \
	COMPARE(bits, strong)                                                                                   \
	COMPARE(bits, weak)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

/* Those of the library come here, for it is compiled without the built-in ones; and so do all others. The parameters'
 * names are those of the header, as clang-tidy demands. */
void *memcpy(void *restrict dest, const void *restrict src, size_t n)
{
	void *to = dest;
	note(dest, n, FROM);
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(n) : : "memory");
	return dest;
}

void *memset(void *s, int c, size_t n)
{
	void *to = s;
	note(s, n, FROM);
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return s;
}
