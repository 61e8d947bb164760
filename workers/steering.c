// SPDX-License-Identifier: Apache-2.0
#include "workers/steering.h"

#include <sys/socket.h>

static bool is_for_handshakers(uint8_t first)
{
	return wire_high(&first) == WIRE_VERSION && wire_is_for_handshakers(wire_type(&first));
}

static uint32_t wireguard_thread(const struct steering *steering, const uint8_t *datagram)
{
	switch (datagram[0]) {
	case WG_INITIATION:
		return steering->workers + wg_index_session_id(wg_sender(datagram)) % steering->handshakers;
	case WG_RESPONSE:
	case WG_COOKIE_REPLY:
		return steering->workers +
		       wg_index_session_id(wg_receiver(datagram, datagram[0])) % steering->handshakers;
	default:
		return (wg_receiver(datagram, WG_DATA) & steering->slot_mask) % steering->workers;
	}
}

uint32_t steering_thread(const struct steering *steering, const uint8_t *datagram, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return STEERING_HASH;
	if (message_is_wireguard(datagram))
		return wireguard_thread(steering, datagram);
	if (is_for_handshakers(datagram[0]))
		return steering->workers + wire_magic(datagram) % steering->handshakers;
	return (wire_session_id(datagram) & steering->slot_mask) % steering->workers;
}

/* The parts of the program: jumps go forward only. */
enum {
	PROGRAM_WIREGUARD = 4,
	PROGRAM_WIREGUARD_DATA = PROGRAM_WIREGUARD + 5,
	PROGRAM_WIREGUARD_RESPONSE = PROGRAM_WIREGUARD_DATA + 2,
	PROGRAM_WIREGUARD_INDEX = PROGRAM_WIREGUARD_RESPONSE + 1,
	PROGRAM_TESTS = PROGRAM_WIREGUARD_INDEX +
			2, /* of our first byte: one for each type that handshake threads take */
	PROGRAM_WORKER = PROGRAM_TESTS + WIRE_HANDSHAKER_TYPES,
	PROGRAM_SLOT = PROGRAM_WORKER + 1,
	PROGRAM_HANDSHAKER = PROGRAM_SLOT + 3,
	PROGRAM_NUMBER = PROGRAM_HANDSHAKER + 1,
	PROGRAM_RUNT = PROGRAM_NUMBER + 3,
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
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0xf0, jump(3, PROGRAM_TESTS), 0),
		[PROGRAM_WIREGUARD] = BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, WG_COOKIE_REPLY,
					       jump(PROGRAM_WIREGUARD, PROGRAM_WIREGUARD_DATA), 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WG_RESPONSE,
			 jump(PROGRAM_WIREGUARD + 1, PROGRAM_WIREGUARD_RESPONSE), 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, jump(PROGRAM_WIREGUARD + 2, PROGRAM_WIREGUARD_DATA), 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WG_SENDER), /* of a cookie reply: the receiver's */
		BPF_STMT(BPF_JMP | BPF_JA, jump(PROGRAM_WIREGUARD + 4, PROGRAM_WIREGUARD_INDEX)),
		[PROGRAM_WIREGUARD_DATA] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WG_DATA_RECEIVER),
		BPF_STMT(BPF_JMP | BPF_JA, jump(PROGRAM_WIREGUARD_DATA + 1, PROGRAM_SLOT)),
		[PROGRAM_WIREGUARD_RESPONSE] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WG_RESPONSE_RECEIVER),
		[PROGRAM_WIREGUARD_INDEX] = BPF_STMT(BPF_ALU | BPF_AND | BPF_K, WIRE_SESSION_ID_MASK),
		BPF_STMT(BPF_JMP | BPF_JA, jump(PROGRAM_WIREGUARD_INDEX + 1, PROGRAM_NUMBER)),
		[PROGRAM_WORKER] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WIRE_SESSION_ID),
		[PROGRAM_SLOT] = BPF_STMT(BPF_ALU | BPF_AND | BPF_K, steering->slot_mask),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		[PROGRAM_HANDSHAKER] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, WIRE_MAGIC),
		[PROGRAM_NUMBER] = BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->handshakers),
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
