// SPDX-License-Identifier: Apache-2.0
#include "tun/sparse_flows.h"

#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tun/headers.h"

enum {
	CODE_MOST = 256, /* instructions */
	/* with BPF_LD, BPF_W and BPF_IMM, which are 0 */
	LOAD_WORD_AT_REGISTER = BPF_IND,
	LOAD_CONSTANT = BPF_DW,
	NEXT_IS_FRAGMENT = 44,		      /* RFC 8200, section 4.5 */
	FRAGMENT_COST = 2 * SPARSE_FLOW_COST, /* more than any flow may cost */
	/* registers: 0 to 5 do not survive a call, nor 1 to 5 a load from the packet, whose result is in 0 */
	PACKET = BPF_REG_6, /* as these loads want it */
	NOW = BPF_REG_7,    /* the destination before, as an index from the pool's base */
	FLOW = BPF_REG_8,   /* its counters; the hash before */
	QUEUE = BPF_REG_9,  /* the cost of being a fragment before */
	FRAME = BPF_REG_10,
	/* stack */
	FLOW_KEY = -4,
	ADDRESSES_KEY = -8,
	DESTINATION_KEY = -12,
	QUEUE_KEY = -16,
	COST = -24,
	DRAINED = -32,
	/* of a window */
	BEGIN = 0,
	SUM = 8,
};

struct flow {
	uint64_t window[2];  /* begin, and cost so far */
	uint64_t last_dense; /* when a packet of it went to the first queue */
};

struct maps {
	int flows, destinations, queues;
};

/* --- an assembler ------------------------------------------------------------------------------------------------- */

struct code {
	struct bpf_insn at[CODE_MOST];
	unsigned count;
};

/* Returns where it is: for land(). What does not fit is left out, and the kernel refuses the program. */
static unsigned emit(struct code *code, struct bpf_insn instruction)
{
	if (code->count == CODE_MOST)
		return CODE_MOST - 1;
	code->at[code->count] = instruction;
	return code->count++;
}

/* A jump that was emitted before comes to what is emitted next. */
static void land(struct code *code, unsigned jump)
{
	code->at[jump].off = (int16_t)(code->count - jump - 1);
}

static void constant(struct code *code, unsigned operation, unsigned to, uint32_t value)
{
	emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_K),
				     .dst_reg = to & 15,
				     .imm = (int32_t)value});
}

static void combine(struct code *code, unsigned operation, unsigned to, unsigned from)
{
	emit(code, (struct bpf_insn){
			   .code = (uint8_t)(BPF_ALU64 | operation | BPF_X), .dst_reg = to & 15, .src_reg = from & 15});
}

static void load(struct code *code, unsigned size, unsigned to, unsigned base, int offset)
{
	emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_LDX | BPF_MEM | size),
				     .dst_reg = to & 15,
				     .src_reg = base & 15,
				     .off = (int16_t)offset});
}

static void store(struct code *code, unsigned size, unsigned base, int offset, unsigned from)
{
	emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_STX | BPF_MEM | size),
				     .dst_reg = base & 15,
				     .src_reg = from & 15,
				     .off = (int16_t)offset});
}

static void load_packet(struct code *code, unsigned size, uint32_t offset)
{
	emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_LD | BPF_ABS | size), .imm = (int32_t)offset});
}

static unsigned jump_if(struct code *code, unsigned test, unsigned of, uint32_t value)
{
	return emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_JMP | test | BPF_K),
					    .dst_reg = of & 15,
					    .imm = (int32_t)value});
}

static unsigned jump_if_above(struct code *code, unsigned of, unsigned other)
{
	return emit(code,
		    (struct bpf_insn){.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = of & 15, .src_reg = other & 15});
}

static unsigned jump(struct code *code)
{
	return emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_JA});
}

static void call(struct code *code, int function)
{
	emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = function});
}

static void leave(struct code *code)
{
	emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT});
}

/* --- the program -------------------------------------------------------------------------------------------------- */

/* hash = (hash + register 0) * odd number */
static void mix(struct code *code)
{
	combine(code, BPF_ADD, FLOW, BPF_REG_0);
	constant(code, BPF_MUL, FLOW, 0x2c9277b5);
}

static void take_destination(struct code *code, uint32_t at_last_word, uint32_t base)
{
	load_packet(code, BPF_W, at_last_word);
	combine(code, BPF_MOV, NOW, BPF_REG_0);
	emit(code, (struct bpf_insn){.code = BPF_ALU | BPF_SUB | BPF_K, .dst_reg = NOW, .imm = (int32_t)base});
	mix(code);
}

/* The hash's upper bits are the good ones. `seed` is odd. */
static void store_flow(struct code *code, int key, uint32_t seed)
{
	combine(code, BPF_MOV, BPF_REG_1, FLOW);
	constant(code, BPF_MUL, BPF_REG_1, seed);
	constant(code, BPF_RSH, BPF_REG_1, 40);
	constant(code, BPF_AND, BPF_REG_1, SPARSE_FLOWS - 1);
	store(code, BPF_W, FRAME, key, BPF_REG_1);
}

/* The protocol, in register 0, is part of the hash. Returns the jump of those without ports. */
static unsigned hash_protocol(struct code *code, uint32_t seed)
{
	combine(code, BPF_MOV, BPF_REG_2, BPF_REG_0);
	mix(code);
	store_flow(code, ADDRESSES_KEY, seed);
	unsigned tcp = jump_if(code, BPF_JEQ, BPF_REG_2, IPPROTO_TCP);
	unsigned other = jump_if(code, BPF_JNE, BPF_REG_2, IPPROTO_UDP);
	land(code, tcp);
	return other;
}

/* Addresses, protocol and ports into the hash. */
static void hash_ipv6(struct code *code, uint32_t base, uint32_t seed)
{
	load_packet(code, BPF_W, IPV6_AT_SOURCE + 8);
	mix(code);
	load_packet(code, BPF_W, IPV6_AT_SOURCE + 12);
	mix(code);
	take_destination(code, IPV6_AT_DESTINATION + 12, base);
	load_packet(code, BPF_B, IPV6_AT_NEXT_HEADER);
	unsigned whole = jump_if(code, BPF_JNE, BPF_REG_0, NEXT_IS_FRAGMENT);
	constant(code, BPF_MOV, QUEUE, FRAGMENT_COST);
	load_packet(code, BPF_B, IPV6_HEADER_LENGTH); /* the fragment header's next header */
	land(code, whole);
	unsigned other = hash_protocol(code, seed);
	unsigned fragment = jump_if(code, BPF_JNE, QUEUE, 0);
	load_packet(code, BPF_W, IPV6_HEADER_LENGTH);
	mix(code);
	land(code, other);
	land(code, fragment);
}

static void hash_ipv4(struct code *code, uint32_t base, uint32_t seed)
{
	load_packet(code, BPF_W, IPV4_AT_SOURCE);
	mix(code);
	take_destination(code, IPV4_AT_DESTINATION, base);
	load_packet(code, BPF_H, IPV4_AT_FRAGMENT);
	constant(code, BPF_AND, BPF_REG_0, IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET);
	unsigned whole = jump_if(code, BPF_JEQ, BPF_REG_0, 0);
	constant(code, BPF_MOV, QUEUE, FRAGMENT_COST);
	land(code, whole);
	load_packet(code, BPF_B, IPV4_AT_PROTOCOL);
	unsigned other = hash_protocol(code, seed);
	unsigned fragment = jump_if(code, BPF_JNE, QUEUE, 0);
	load_packet(code, BPF_B, 0);
	constant(code, BPF_AND, BPF_REG_0, 15);
	constant(code, BPF_LSH, BPF_REG_0, 2);
	emit(code, (struct bpf_insn){.code = LOAD_WORD_AT_REGISTER, .src_reg = BPF_REG_0});
	mix(code);
	land(code, other);
	land(code, fragment);
}

/* Leaves the keys of the maps on the stack, and the queue. */
static void parse(struct code *code, const struct queue_steering *steering, uint32_t seed)
{
	combine(code, BPF_MOV, PACKET, BPF_REG_1);
	constant(code, BPF_MOV, FLOW, 0);
	constant(code, BPF_MOV, QUEUE, 0);
	load_packet(code, BPF_B, 0);
	constant(code, BPF_RSH, BPF_REG_0, 4);
	unsigned ipv4 = jump_if(code, BPF_JEQ, BPF_REG_0, 4);
	unsigned ipv6 = jump_if(code, BPF_JEQ, BPF_REG_0, 6);
	constant(code, BPF_MOV, BPF_REG_0, 0);
	leave(code);
	land(code, ipv6);
	hash_ipv6(code, steering->base6, seed);
	unsigned done = jump(code);
	land(code, ipv4);
	hash_ipv4(code, steering->base4, seed);
	land(code, done);
	store_flow(code, FLOW_KEY, seed);
	store(code, BPF_DW, FRAME, COST, QUEUE);
	combine(code, BPF_MOV, QUEUE, NOW);
	constant(code, BPF_MOD, QUEUE, steering->queues);
	store(code, BPF_W, FRAME, QUEUE_KEY, QUEUE);
	constant(code, BPF_AND, NOW, SPARSE_FLOWS - 1);
	store(code, BPF_W, FRAME, DESTINATION_KEY, NOW);
}

/* Register 0 has the address of the element afterwards. The verifier wants to see it compared. */
static void look_up(struct code *code, int map, int key)
{
	emit(code,
	     (struct bpf_insn){.code = LOAD_CONSTANT, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map});
	emit(code, (struct bpf_insn){0}); /* the upper half */
	combine(code, BPF_MOV, BPF_REG_2, FRAME);
	constant(code, BPF_ADD, BPF_REG_2, (uint32_t)key);
	call(code, BPF_FUNC_map_lookup_elem);
	unsigned found = jump_if(code, BPF_JNE, BPF_REG_0, 0);
	leave(code);
	land(code, found);
}

/* Adds the packet's cost to the window that `base` + `offset` points to. Returns the jump of those above the limit. */
static unsigned count(struct code *code, unsigned base, int offset, uint32_t most)
{
	load(code, BPF_DW, BPF_REG_3, FRAME, COST);
	load(code, BPF_DW, BPF_REG_1, base, offset + BEGIN);
	combine(code, BPF_MOV, BPF_REG_2, NOW);
	combine(code, BPF_SUB, BPF_REG_2, BPF_REG_1);
	unsigned over = jump_if(code, BPF_JGT, BPF_REG_2, SPARSE_WINDOW_NS);
	load(code, BPF_DW, BPF_REG_1, base, offset + SUM);
	unsigned goes_on = jump(code);
	land(code, over);
	store(code, BPF_DW, base, offset + BEGIN, NOW);
	constant(code, BPF_MOV, BPF_REG_1, 0);
	land(code, goes_on);
	combine(code, BPF_ADD, BPF_REG_1, BPF_REG_3);
	store(code, BPF_DW, base, offset + SUM, BPF_REG_1);
	return jump_if(code, BPF_JGT, BPF_REG_1, most);
}

/* Returns the jump of the flows, at `flow`, whose last packet may still be in the first queue. */
static unsigned not_drained(struct code *code, unsigned flow)
{
	load(code, BPF_DW, BPF_REG_1, flow, offsetof(struct flow, last_dense));
	load(code, BPF_DW, BPF_REG_2, FRAME, DRAINED);
	return jump_if_above(code, BPF_REG_1, BPF_REG_2);
}

/* Fragments have no ports, so they are a flow of their own, and always dense: what else goes between these addresses
 * then waits until they have left the first queue. */
static void decide(struct code *code, const struct maps *maps, uint32_t first)
{
	unsigned dense[5];
	look_up(code, maps->flows, FLOW_KEY);
	combine(code, BPF_MOV, FLOW, BPF_REG_0);
	load(code, BPF_DW, BPF_REG_3, FRAME, COST);
	load(code, BPF_W, BPF_REG_1, PACKET, offsetof(struct __sk_buff, len));
	combine(code, BPF_ADD, BPF_REG_3, BPF_REG_1);
	constant(code, BPF_ADD, BPF_REG_3, SPARSE_PACKET_COST);
	store(code, BPF_DW, FRAME, COST, BPF_REG_3);
	call(code, BPF_FUNC_ktime_get_boot_ns);
	combine(code, BPF_MOV, NOW, BPF_REG_0);
	dense[0] = count(code, FLOW, offsetof(struct flow, window), SPARSE_FLOW_COST);
	look_up(code, maps->queues, QUEUE_KEY);
	load(code, BPF_DW, BPF_REG_2, BPF_REG_0, offsetof(struct sparse_queue, drained));
	store(code, BPF_DW, FRAME, DRAINED, BPF_REG_2);
	dense[1] = not_drained(code, FLOW);
	dense[2] = count(code, BPF_REG_0, offsetof(struct sparse_queue, window), SPARSE_QUEUE_COST);
	look_up(code, maps->flows, ADDRESSES_KEY);
	dense[3] = not_drained(code, BPF_REG_0);
	look_up(code, maps->destinations, DESTINATION_KEY);
	dense[4] = count(code, BPF_REG_0, 0, SPARSE_DESTINATION_COST);
	combine(code, BPF_MOV, BPF_REG_0, QUEUE);
	constant(code, BPF_ADD, BPF_REG_0, first);
	leave(code);
	for (size_t i = 0; i < ARRAY_SIZE(dense); i++)
		land(code, dense[i]);
	store(code, BPF_DW, FLOW, offsetof(struct flow, last_dense), NOW);
	combine(code, BPF_MOV, BPF_REG_0, QUEUE);
	leave(code);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
	return result >= 0 ? (int)result : -errno;
}

static int make_map(uint32_t size, uint32_t entries, uint32_t flags)
{
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = sizeof(uint32_t);
	attributes.value_size = size;
	attributes.max_entries = entries;
	attributes.map_flags = flags;
	return bpf(BPF_MAP_CREATE, &attributes);
}

static int load_program(const struct maps *maps, const struct queue_steering *steering, uint32_t first)
{
	uint32_t seed = 0;
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		return -errno;
	struct code code = {.count = 0};
	parse(&code, steering, seed | 1);
	decide(&code, maps, first);
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attributes.insn_cnt = code.count;
	attributes.insns = (uintptr_t)code.at;
	attributes.license = (uintptr_t) "Apache-2.0";
	return bpf(BPF_PROG_LOAD, &attributes);
}

/* The map's last page is mapped whole. */
static int map_queues(struct sparse_flows *flows, int map, uint32_t count)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	flows->mapped = (count * sizeof(struct sparse_queue) + page - 1) / page * page;
	void *memory = mmap(NULL, flows->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (memory == MAP_FAILED)
		return -errno;
	flows->queues = memory;
	return 0;
}

int sparse_flows_load(struct sparse_flows *flows, const struct queue_steering *steering, uint32_t first)
{
	*flows = (struct sparse_flows){.program = -1};
	struct maps maps = {
		.flows = make_map(sizeof(struct flow), SPARSE_FLOWS, 0),
		.destinations = make_map(2 * sizeof(uint64_t), SPARSE_FLOWS, 0),
		.queues = make_map(sizeof(struct sparse_queue), steering->queues, BPF_F_MMAPABLE),
	};
	const int all[] = {maps.flows, maps.destinations, maps.queues};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(all) && result == 0; i++)
		result = all[i] < 0 ? all[i] : 0;
	if (result == 0)
		result = map_queues(flows, maps.queues, steering->queues);
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
