// SPDX-License-Identifier: Apache-2.0
#include "tun/queue_steering.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/bpf.h"
#include "tun/headers.h"

#ifndef TUNSETSTEERINGEBPF
#define TUNSETSTEERINGEBPF _IOR('T', 224, int)
#endif

enum {
	LOAD_BYTE = BPF_LD | BPF_ABS | BPF_B,
	LOAD_WORD = BPF_LD | BPF_ABS, /* | BPF_W, which is 0 like BPF_LD */
	TEST_IPV6 = 7,		      /* instructions that are jumped to */
	MODULO = 10,
	IPV6_AT_LAST_WORD = IPV6_AT_DESTINATION + 12,
};

/* The interface carries IP packets without a link layer, so offsets count from the IP header. A load past the packet's
 * end ends the program with queue 0; what is no IP at all goes to some queue, where it is dropped and counted. */
void queue_steering_program(const struct queue_steering *steering, struct bpf_insn *program)
{
	const struct bpf_insn instructions[QUEUE_STEERING_INSTRUCTIONS] = {
		/* Loads take the packet from register 6, and load into register 0. */
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6, .src_reg = BPF_REG_1},
		{.code = LOAD_BYTE, .imm = 0},
		{.code = BPF_ALU | BPF_RSH | BPF_K, .imm = 4},
		{.code = BPF_JMP | BPF_JNE | BPF_K, .imm = 4, .off = TEST_IPV6 - 4},
		{.code = LOAD_WORD, .imm = IPV4_AT_DESTINATION},
		{.code = BPF_ALU | BPF_SUB | BPF_K, .imm = (int32_t)steering->base4},
		{.code = BPF_JMP | BPF_JA, .off = MODULO - 7},
		[TEST_IPV6] = {.code = BPF_JMP | BPF_JNE | BPF_K, .imm = 6, .off = MODULO - 8},
		{.code = LOAD_WORD, .imm = IPV6_AT_LAST_WORD},
		{.code = BPF_ALU | BPF_SUB | BPF_K, .imm = (int32_t)steering->base6},
		[MODULO] = {.code = BPF_ALU | BPF_MOD | BPF_K, .imm = (int32_t)steering->queues},
		{.code = BPF_JMP | BPF_EXIT},
	};
	memcpy(program, instructions, sizeof instructions);
}

int queue_steering_attach_program(int fd, int program)
{
	return ioctl(fd, TUNSETSTEERINGEBPF, &program) == 0 ? 0 : -errno;
}

int queue_steering_load(const struct queue_steering *steering)
{
	struct bpf_insn instructions[QUEUE_STEERING_INSTRUCTIONS];
	queue_steering_program(steering, instructions);
	return bpf_load_filter(instructions, QUEUE_STEERING_INSTRUCTIONS);
}

int queue_steering_attach(int fd, const struct queue_steering *steering)
{
	int program = queue_steering_load(steering);
	if (program < 0)
		return program;
	int result = queue_steering_attach_program(fd, program);
	close(program);
	return result;
}
