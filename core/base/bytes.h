// SPDX-License-Identifier: Apache-2.0
/* Unaligned access in both byte orders and the few macros that every room needs. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define likely(x)		 __builtin_expect(!!(x), 1)
#define unlikely(x)		 __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)		 (sizeof(a) / sizeof((a)[0]))
#define CACHE_LINE		 64
#define CACHE_ALIGNED		 __attribute__((aligned(CACHE_LINE)))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define MUST_CHECK		 __attribute__((warn_unused_result))
#define ALWAYS_INLINE		 inline __attribute__((always_inline))

static inline uint16_t load_be16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap16(v);
}

static inline uint32_t load_be32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap32(v);
}

static inline uint64_t load_be64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap64(v);
}

static inline void store_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof v);
}

static inline void store_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

static inline void store_be64(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof v);
}

static inline uint32_t load_le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t load_le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline void store_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void store_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "big-endian loads and stores swap, little-endian ones do not");
