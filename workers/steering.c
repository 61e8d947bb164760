// SPDX-License-Identifier: Apache-2.0
#include "workers/steering.h"

#include <sys/socket.h>

static bool is_for_handshakers(uint8_t first)
{
	return wire_high(&first) == WIRE_VERSION && wire_is_for_handshakers(wire_type(&first));
}

uint32_t steering_thread(const struct steering *steering, const uint8_t *datagram, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return STEERING_HASH;
	if (is_for_handshakers(datagram[0]))
		return steering->workers + wire_magic(datagram) % steering->handshakers;
	return (wire_session_id(datagram) & steering->slot_mask) % steering->workers;
}

/* The parts of the program after the tests of the first byte, one for each type that handshake threads take. */
enum {
	PROGRAM_TESTS = 3,
	PROGRAM_WORKER = PROGRAM_TESTS + WIRE_HANDSHAKER_TYPES,
	PROGRAM_HANDSHAKER = PROGRAM_WORKER + 4,
	PROGRAM_RUNT = PROGRAM_HANDSHAKER + 4,
};
_Static_assert(PROGRAM_RUNT + 1 == STEERING_INSTRUCTIONS, "all of it");

/* The distance of a jump in instruction `from` to instruction `to`. */
static uint8_t jump(unsigned from, unsigned to)
{
	return (uint8_t)(to - from - 1);
}

/* For a reuseport group, offset 0 is the first byte of the UDP payload and the packet's length is the payload's. Loads
 * are big-endian. A load past the end would mean socket 0: hence the test of the length. An index that no socket has
 * means the kernel's hash. */
void steering_program(const struct steering *steering, struct sock_filter program[STEERING_INSTRUCTIONS])
{
	const struct sock_filter instructions[STEERING_INSTRUCTIONS] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, WIRE_SMALLEST, 0, PROGRAM_RUNT - 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		[PROGRAM_WORKER] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WIRE_SESSION_ID),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, steering->slot_mask),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		[PROGRAM_HANDSHAKER] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WIRE_MAGIC),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->handshakers),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, steering->workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		[PROGRAM_RUNT] = BPF_STMT(BPF_RET | BPF_K, STEERING_HASH),
	};
	memcpy(program, instructions, sizeof instructions);

	unsigned at = PROGRAM_TESTS;
	for (unsigned type = 0; type < WIRE_TYPES; type++) {
		if (!wire_is_for_handshakers(type))
			continue;
		program[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WIRE_VERSION << 4 | type,
							   jump(at, PROGRAM_HANDSHAKER), 0);
		at++;
	}
}

int steering_attach(int fd, const struct steering *steering, struct error *error)
{
	struct sock_filter program[STEERING_INSTRUCTIONS];
	struct sock_fprog attached = {.len = STEERING_INSTRUCTIONS, .filter = program};

	steering_program(steering, program);
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) != 0)
		return error_set(error, -errno, "UDP steering: attach the BPF program: %s", strerror(errno));
	return 0;
}
