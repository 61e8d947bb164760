// SPDX-License-Identifier: Apache-2.0
#include "tun/destination_shares.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/bpf.h"

#ifndef TUNSETFILTEREBPF
#define TUNSETFILTEREBPF _IOR('T', 225, int)
#endif

enum {
	/* registers, before the decision */
	LENGTH = BPF_REG_7,
	ADDRESS = BPF_REG_8,
	QUEUE = BPF_REG_9,
};

/* Returns the jump of those that are too short for it. */
static unsigned load_address(struct bpf_code *code, uint32_t header, uint32_t at_last_word, uint32_t base)
{
	unsigned runt = bpf_jump_if(code, BPF_JLT, LENGTH, header);
	bpf_load_packet(code, BPF_W, at_last_word);
	bpf_combine(code, BPF_MOV, ADDRESS, BPF_RESULT);
	bpf_emit(code, (struct bpf_insn){.code = BPF_ALU | BPF_SUB | BPF_K, .dst_reg = ADDRESS, .imm = (int32_t)base});
	return runt;
}

static void store_member(struct bpf_code *code, const struct destination_shares *shares)
{
	bpf_constant(code, BPF_DIV, ADDRESS, shares->steering.queues);
	bpf_constant(code, BPF_AND, ADDRESS, shares->shares.stride - 1);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_SHARES_QUEUE, QUEUE);
	bpf_constant(code, BPF_MUL, QUEUE, shares->shares.stride);
	bpf_combine(code, BPF_ADD, ADDRESS, QUEUE);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_SHARES_MEMBER, ADDRESS);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 1);
	bpf_constant(code, BPF_LSH, BPF_REG_1, QUEUE_SHARES_SLOT_BIT);
	bpf_combine(code, BPF_ADD, BPF_REG_1, LENGTH);
	bpf_constant(code, BPF_ADD, BPF_REG_1, DESTINATION_SHARES_PACKET);
	bpf_store(code, BPF_DW, BPF_FRAME, QUEUE_SHARES_COST, BPF_REG_1);
}

/* As destination_shares_member() does it. The queue was chosen before. */
static void assemble(struct bpf_code *code, const struct destination_shares *shares)
{
	unsigned passes[5];
	bpf_combine(code, BPF_MOV, BPF_PACKET, BPF_REG_1);
	bpf_load(code, BPF_W, QUEUE, BPF_PACKET, offsetof(struct __sk_buff, queue_mapping));
	bpf_load(code, BPF_W, LENGTH, BPF_PACKET, offsetof(struct __sk_buff, len));
	passes[0] = bpf_jump_if(code, BPF_JGE, QUEUE, shares->steering.queues);
	passes[1] = bpf_jump_if(code, BPF_JLT, LENGTH, IPV4_HEADER_MIN);
	bpf_load_packet(code, BPF_B, 0);
	bpf_constant(code, BPF_RSH, BPF_RESULT, 4);
	unsigned ipv4 = bpf_jump_if(code, BPF_JEQ, BPF_RESULT, 4);
	passes[2] = bpf_jump_if(code, BPF_JNE, BPF_RESULT, 6);
	passes[3] = load_address(code, IPV6_HEADER_LENGTH, IPV6_AT_DESTINATION + 12, shares->steering.base6);
	unsigned found = bpf_jump(code);
	bpf_land(code, ipv4);
	passes[4] = load_address(code, IPV4_HEADER_MIN, IPV4_AT_DESTINATION, shares->steering.base4);
	bpf_land(code, found);
	store_member(code, shares);
	queue_shares_emit_find(code, &shares->shares);
	queue_shares_emit_decide(code, &shares->shares);
	for (size_t i = 0; i < ARRAY_SIZE(passes); i++)
		bpf_land(code, passes[i]);
	bpf_combine(code, BPF_MOV, BPF_RESULT, LENGTH);
	bpf_leave(code);
}

static uint32_t members(uint32_t destinations, uint32_t queues)
{
	uint32_t count = DESTINATION_SHARES_LEAST;
	while (count < DESTINATION_SHARES_MOST && (uint64_t)count * queues < destinations)
		count *= 2;
	return count;
}

int destination_shares_load(struct destination_shares *shares, const struct queue_steering *steering,
			    uint32_t destinations)
{
	struct bpf_code code = {.count = 0};
	shares->steering = *steering;
	if (steering->queues == 0)
		shares->steering.queues = 1;
	uint32_t queues = shares->steering.queues;
	int result = queue_shares_make(&shares->shares, queues, members(destinations, queues));
	if (result != 0)
		return result;
	for (uint32_t i = 0; i < queues; i++)
		queue_shares_resize(&shares->shares.queues[i], DESTINATION_SHARES_SLOTS, DESTINATION_SHARES_BYTES);
	assemble(&code, shares);
	int program = bpf_load_filter(code.at, code.count);
	if (program < 0)
		queue_shares_unmake(&shares->shares);
	else
		queue_shares_close_arrays(&shares->shares);
	return program;
}

int destination_shares_attach(int fd, int program)
{
	return ioctl(fd, TUNSETFILTEREBPF, &program) == 0 ? 0 : -errno;
}

void destination_shares_detach(int fd)
{
	int none = -1;
	(void)ioctl(fd, TUNSETFILTEREBPF, &none);
}

struct queue_shares_tally destination_shares_tally(const struct destination_shares *shares, uint32_t index)
{
	if (shares == NULL)
		return (struct queue_shares_tally){.queue = NULL};
	return (struct queue_shares_tally){.queue = &shares->shares.queues[index],
					   .members = shares->shares.members + (size_t)index * shares->shares.stride,
					   .bytes = DESTINATION_SHARES_BYTES,
					   .slots = DESTINATION_SHARES_SLOTS};
}
