// SPDX-License-Identifier: Apache-2.0
#include "workers/steering.h"

#include <sys/socket.h>

#include "core/protocol/wire.h"

enum {
	FIRST_BYTE_HELLO = WIRE_VERSION << 4 | WIRE_HELLO,
	OFFSET_SESSION_ID = 1,
	OFFSET_MAGIC = WIRE_HEADER_SIZE,
};

uint32_t steering_thread(const struct steering *steering, const uint8_t *datagram, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return STEERING_HASH;
	if (datagram[0] == FIRST_BYTE_HELLO)
		return steering->workers + wire_magic(datagram) % steering->handshakers;
	return (wire_session_id(datagram) & steering->slot_mask) % steering->workers;
}

/* For a reuseport group, offset 0 is the first byte of the UDP payload and the packet's length is the payload's. Loads
 * are big-endian. A load past the end would mean socket 0: hence the test of the length. An index that no socket has
 * means the kernel's hash. */
void steering_program(const struct steering *steering, struct sock_filter program[STEERING_INSTRUCTIONS])
{
	const struct sock_filter instructions[STEERING_INSTRUCTIONS] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, WIRE_SMALLEST, 0, 10),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIRST_BYTE_HELLO, 4, 0),
		/* the worker that owns the session */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET_SESSION_ID),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, steering->slot_mask),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		/* HELLO */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET_MAGIC),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, steering->handshakers),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, steering->workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		/* runt */
		BPF_STMT(BPF_RET | BPF_K, STEERING_HASH),
	};
	memcpy(program, instructions, sizeof instructions);
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
