// SPDX-License-Identifier: Apache-2.0
#include "tun/checksum.h"

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "tun/headers.h"

/* 32-bit words are added in 64-bit lanes: no carry needs care below 16 GiB, and the lanes of a whole packet stay far
 * enough below 2^64 that callers add sums with a plain +. 2^16 = 1 modulo 2^16 - 1, so wider words give the same fold.
 */
typedef uint64_t lanes __attribute__((vector_size(32)));

enum { BLOCK = 2 * sizeof(lanes) };

static ALWAYS_INLINE uint64_t sum_blocks(const uint8_t *data, size_t blocks)
{
	const lanes low = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
	lanes even = {0}, odd = {0};

	for (const uint8_t *end = data + blocks * BLOCK; data != end; data += BLOCK) {
		lanes a, b;
		memcpy(&a, data, sizeof a);
		memcpy(&b, data + sizeof a, sizeof b);
		even += (a & low) + (b & low);
		odd += (a >> 32) + (b >> 32);
	}
	even += odd;
	return even[0] + even[1] + even[2] + even[3];
}

#ifdef __x86_64__
HOT __attribute__((target("avx2"))) static uint64_t sum_blocks_avx2(const uint8_t *data, size_t blocks)
{
	return sum_blocks(data, blocks);
}
#endif

/* Chosen by a branch on libgcc's CPU word rather than by target_clones: the ifunc of target_clones would run before the
 * sanitizers are initialised, and the branch is predicted. */
static uint64_t sum_blocks_best(const uint8_t *data, size_t blocks)
{
#ifdef __x86_64__
	if (likely(__builtin_cpu_supports("avx2")))
		return sum_blocks_avx2(data, blocks);
#endif
	return sum_blocks(data, blocks);
}

HOT uint64_t checksum_add(const void *data, size_t length, uint64_t sum)
{
	const uint8_t *at = data;
	uint64_t word = 0;

	if (length >= BLOCK) {
		sum += sum_blocks_best(at, length / BLOCK);
		at += length & ~(size_t)(BLOCK - 1);
		length %= BLOCK;
	}
	for (; length >= 8; at += 8, length -= 8) {
		memcpy(&word, at, 8);
		sum += (word & UINT32_MAX) + (word >> 32);
	}
	if (length & 4) {
		uint32_t half;
		memcpy(&half, at, 4);
		sum += half;
		at += 4;
	}
	if (length & 2) {
		uint16_t quarter;
		memcpy(&quarter, at, 2);
		sum += quarter;
		at += 2;
	}
	return length & 1 ? sum + *at : sum;
}

HOT uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

HOT uint64_t checksum_pseudo(unsigned version, const uint8_t *ip_header, uint32_t upper_length, uint8_t protocol)
{
	/* In memory order, as all sums: the protocol is the second byte of its word. */
	uint64_t sum = (uint64_t)__builtin_bswap32(upper_length) + ((uint64_t)protocol << 8);

	return version == 4 ? checksum_add(ip_header + IPV4_AT_SOURCE, 8, sum)
			    : checksum_add(ip_header + IPV6_AT_SOURCE, 32, sum);
}

uint16_t checksum_ipv4_header(const uint8_t *header, size_t header_length)
{
	uint64_t sum = checksum_add(header, IPV4_AT_CHECKSUM, 0);

	return (uint16_t)~checksum_fold(checksum_add(header + IPV4_AT_SOURCE, header_length - IPV4_AT_SOURCE, sum));
}
