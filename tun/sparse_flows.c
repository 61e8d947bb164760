// SPDX-License-Identifier: Apache-2.0
#include "tun/sparse_flows.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/base/bpf.h"
#include "tun/headers.h"

enum {
	LOAD_WORD_AT_REGISTER = BPF_IND,      /* with BPF_LD and BPF_W, which are 0 */
	NEXT_IS_FRAGMENT = 44,		      /* RFC 8200, section 4.5 */
	FRAGMENT_COST = 2 * SPARSE_COST_MOST, /* more than any flow may cost */
	/* registers */
	DESTINATION = SPARSE_NOW, /* before the time: as an index from the pool's base */
	FLOW = BPF_REG_8,	  /* its counters; the hash before */
	QUEUE = BPF_REG_9,	  /* the cost of being a fragment before */
	/* stack */
	FLOW_KEY = -4,
	ADDRESSES_KEY = -8,
	DESTINATION_KEY = -12,
	QUEUE_KEY = -16,
};

struct maps {
	int flows, destinations, queues;
};

/* --- the program -------------------------------------------------------------------------------------------------- */

/* hash = (hash + register 0) * odd number */
static void mix(struct bpf_code *code)
{
	bpf_combine(code, BPF_ADD, FLOW, BPF_REG_0);
	bpf_constant(code, BPF_MUL, FLOW, 0x2c9277b5);
}

static void take_destination(struct bpf_code *code, uint32_t at_last_word, uint32_t base)
{
	bpf_load_packet(code, BPF_W, at_last_word);
	bpf_combine(code, BPF_MOV, DESTINATION, BPF_REG_0);
	bpf_emit(code,
		 (struct bpf_insn){.code = BPF_ALU | BPF_SUB | BPF_K, .dst_reg = DESTINATION, .imm = (int32_t)base});
	mix(code);
}

/* The hash's upper bits are the good ones. `seed` is odd. */
static void store_flow(struct bpf_code *code, int key, uint32_t seed)
{
	bpf_combine(code, BPF_MOV, BPF_REG_1, FLOW);
	bpf_constant(code, BPF_MUL, BPF_REG_1, seed);
	bpf_constant(code, BPF_RSH, BPF_REG_1, 40);
	bpf_constant(code, BPF_AND, BPF_REG_1, SPARSE_FLOWS - 1);
	bpf_store(code, BPF_W, BPF_FRAME, key, BPF_REG_1);
}

/* The protocol, in register 0, is part of the hash. Returns the jump of those without ports. */
static unsigned hash_protocol(struct bpf_code *code, uint32_t seed)
{
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_REG_0);
	mix(code);
	store_flow(code, ADDRESSES_KEY, seed);
	unsigned tcp = bpf_jump_if(code, BPF_JEQ, BPF_REG_2, IPPROTO_TCP);
	unsigned other = bpf_jump_if(code, BPF_JNE, BPF_REG_2, IPPROTO_UDP);
	bpf_land(code, tcp);
	return other;
}

/* Addresses, protocol and ports into the hash. */
static void hash_ipv6(struct bpf_code *code, uint32_t base, uint32_t seed)
{
	bpf_load_packet(code, BPF_W, IPV6_AT_SOURCE + 8);
	mix(code);
	bpf_load_packet(code, BPF_W, IPV6_AT_SOURCE + 12);
	mix(code);
	take_destination(code, IPV6_AT_DESTINATION + 12, base);
	bpf_load_packet(code, BPF_B, IPV6_AT_NEXT_HEADER);
	unsigned whole = bpf_jump_if(code, BPF_JNE, BPF_REG_0, NEXT_IS_FRAGMENT);
	bpf_constant(code, BPF_MOV, QUEUE, FRAGMENT_COST);
	bpf_load_packet(code, BPF_B, IPV6_HEADER_LENGTH); /* the fragment header's next header */
	bpf_land(code, whole);
	unsigned other = hash_protocol(code, seed);
	unsigned fragment = bpf_jump_if(code, BPF_JNE, QUEUE, 0);
	bpf_load_packet(code, BPF_W, IPV6_HEADER_LENGTH);
	mix(code);
	bpf_land(code, other);
	bpf_land(code, fragment);
}

static void hash_ipv4(struct bpf_code *code, uint32_t base, uint32_t seed)
{
	bpf_load_packet(code, BPF_W, IPV4_AT_SOURCE);
	mix(code);
	take_destination(code, IPV4_AT_DESTINATION, base);
	bpf_load_packet(code, BPF_H, IPV4_AT_FRAGMENT);
	bpf_constant(code, BPF_AND, BPF_REG_0, IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET);
	unsigned whole = bpf_jump_if(code, BPF_JEQ, BPF_REG_0, 0);
	bpf_constant(code, BPF_MOV, QUEUE, FRAGMENT_COST);
	bpf_land(code, whole);
	bpf_load_packet(code, BPF_B, IPV4_AT_PROTOCOL);
	unsigned other = hash_protocol(code, seed);
	unsigned fragment = bpf_jump_if(code, BPF_JNE, QUEUE, 0);
	bpf_load_packet(code, BPF_B, 0);
	bpf_constant(code, BPF_AND, BPF_REG_0, 15);
	bpf_constant(code, BPF_LSH, BPF_REG_0, 2);
	bpf_emit(code, (struct bpf_insn){.code = LOAD_WORD_AT_REGISTER, .src_reg = BPF_REG_0});
	mix(code);
	bpf_land(code, other);
	bpf_land(code, fragment);
}

/* Leaves the keys of the maps on the stack, and the queue. */
static void parse(struct bpf_code *code, const struct queue_steering *steering, uint32_t seed)
{
	bpf_combine(code, BPF_MOV, BPF_PACKET, BPF_REG_1);
	bpf_constant(code, BPF_MOV, FLOW, 0);
	bpf_constant(code, BPF_MOV, QUEUE, 0);
	bpf_load_packet(code, BPF_B, 0);
	bpf_constant(code, BPF_RSH, BPF_REG_0, 4);
	unsigned ipv4 = bpf_jump_if(code, BPF_JEQ, BPF_REG_0, 4);
	unsigned ipv6 = bpf_jump_if(code, BPF_JEQ, BPF_REG_0, 6);
	bpf_constant(code, BPF_MOV, BPF_REG_0, 0);
	bpf_leave(code);
	bpf_land(code, ipv6);
	hash_ipv6(code, steering->base6, seed);
	unsigned done = bpf_jump(code);
	bpf_land(code, ipv4);
	hash_ipv4(code, steering->base4, seed);
	bpf_land(code, done);
	store_flow(code, FLOW_KEY, seed);
	bpf_store(code, BPF_DW, BPF_FRAME, SPARSE_COST, QUEUE);
	bpf_combine(code, BPF_MOV, QUEUE, DESTINATION);
	bpf_constant(code, BPF_MOD, QUEUE, steering->queues);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_KEY, QUEUE);
	bpf_constant(code, BPF_AND, DESTINATION, SPARSE_FLOWS - 1);
	bpf_store(code, BPF_W, BPF_FRAME, DESTINATION_KEY, DESTINATION);
}

/* Fragments have no ports, so they are a flow of their own, and always dense: what else goes between these addresses
 * then waits until they have left the first queue. */
static void decide(struct bpf_code *code, const struct maps *maps, uint32_t first)
{
	unsigned dense[6];
	bpf_look_up(code, maps->flows, FLOW_KEY);
	bpf_combine(code, BPF_MOV, FLOW, BPF_REG_0);
	bpf_load(code, BPF_DW, BPF_REG_3, BPF_FRAME, SPARSE_COST);
	bpf_load(code, BPF_W, BPF_REG_1, BPF_PACKET, offsetof(struct __sk_buff, len));
	bpf_combine(code, BPF_ADD, BPF_REG_3, BPF_REG_1);
	bpf_constant(code, BPF_ADD, BPF_REG_3, SPARSE_PACKET_COST);
	bpf_store(code, BPF_DW, BPF_FRAME, SPARSE_COST, BPF_REG_3);
	sparse_emit_time(code);
	dense[0] = sparse_emit_count(code, FLOW, offsetof(struct sparse_member, window), SPARSE_COST_MOST);
	bpf_look_up(code, maps->queues, QUEUE_KEY);
	sparse_emit_drained(code, BPF_RESULT);
	dense[1] = sparse_emit_not_drained(code, FLOW);
	dense[5] = sparse_emit_held(code, FLOW);
	dense[2] = sparse_emit_count(code, BPF_RESULT, offsetof(struct sparse_queue, window), SPARSE_QUEUE_COST);
	bpf_look_up(code, maps->flows, ADDRESSES_KEY);
	dense[3] = sparse_emit_not_drained(code, BPF_RESULT);
	bpf_look_up(code, maps->destinations, DESTINATION_KEY);
	dense[4] = sparse_emit_count(code, BPF_RESULT, 0, SPARSE_DESTINATION_COST);
	bpf_combine(code, BPF_MOV, BPF_REG_0, QUEUE);
	bpf_constant(code, BPF_ADD, BPF_REG_0, first);
	bpf_leave(code);
	for (size_t i = 0; i < ARRAY_SIZE(dense); i++)
		bpf_land(code, dense[i]);
	sparse_emit_dense(code, FLOW);
	bpf_combine(code, BPF_MOV, BPF_REG_0, QUEUE);
	bpf_leave(code);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

static int load_program(const struct maps *maps, const struct queue_steering *steering, uint32_t first)
{
	uint32_t seed = 0;
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		return -errno;
	struct bpf_code code = {.count = 0};
	parse(&code, steering, seed | 1);
	decide(&code, maps, first);
	return bpf_load_filter(code.at, code.count);
}

int sparse_flows_load(struct sparse_flows *flows, const struct queue_steering *steering, uint32_t first)
{
	*flows = (struct sparse_flows){.program = -1};
	struct maps maps = {
		.flows = bpf_make_array(sizeof(struct sparse_member), SPARSE_FLOWS, 0),
		.destinations = bpf_make_array(2 * sizeof(uint64_t), SPARSE_FLOWS, 0),
		.queues = bpf_make_array(sizeof(struct sparse_queue), steering->queues, BPF_F_MMAPABLE),
	};
	const int all[] = {maps.flows, maps.destinations, maps.queues};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(all) && result == 0; i++)
		result = all[i] < 0 ? all[i] : 0;
	if (result == 0) {
		flows->queues = bpf_map_array(maps.queues, steering->queues * sizeof(struct sparse_queue),
					      &flows->mapped);
		result = flows->queues != NULL ? 0 : -errno;
	}
	if (result == 0)
		result = flows->program = load_program(&maps, steering, first);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (all[i] >= 0)
			close(all[i]); /* the program holds them */
	}
	if (result >= 0)
		return 0;
	flows->program = -1;
	sparse_flows_unload(flows);
	return result;
}

void sparse_flows_close_program(struct sparse_flows *flows)
{
	if (flows->program >= 0)
		close(flows->program);
	flows->program = -1;
}

void sparse_flows_unload(struct sparse_flows *flows)
{
	sparse_flows_close_program(flows);
	if (flows->queues != NULL)
		munmap(flows->queues, flows->mapped);
	flows->queues = NULL;
}
