/* SPDX-License-Identifier: Apache-2.0 */
/* BPF programs of our own for the kernel (linux/bpf.h, socket filters): an assembler, loading, and memory that a
 * program shares with this process.
 *
 * Registers 0 to 5 do not survive a call, nor 1 to 5 a load from the packet; 10 is the frame, whose variables have
 * negative offsets. A load past the packet's end ends the program with the result 0. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BPF_CODE_MOST = 256, /* instructions */
	/* registers with a meaning of their own */
	BPF_RESULT = BPF_REG_0, /* of calls, of loads from the packet, of the program */
	BPF_PACKET = BPF_REG_6, /* the context: loads from the packet want it there */
	BPF_FRAME = BPF_REG_10,
};

struct bpf_code {
	struct bpf_insn at[BPF_CODE_MOST + 1];
	unsigned count; /* above BPF_CODE_MOST: it does not fit, and cannot be loaded */
};

/* Appends an instruction and returns where it is, for bpf_land(). The functions below append one each, unless they say
 * otherwise. */
unsigned bpf_emit(struct bpf_code *code, struct bpf_insn instruction);

/* The jump at `jump` comes to what is appended next. */
void bpf_land(struct bpf_code *code, unsigned jump);

/* `operation` is BPF_MOV, BPF_ADD and so on, in 64 bits: to = to operation value. */
void bpf_constant(struct bpf_code *code, unsigned operation, unsigned to, uint32_t value);
void bpf_combine(struct bpf_code *code, unsigned operation, unsigned to, unsigned from);

/* Between a register and memory at `base` + `offset`. `size` is BPF_B, BPF_H, BPF_W or BPF_DW. */
void bpf_load(struct bpf_code *code, unsigned size, unsigned to, unsigned base, int offset);
void bpf_store(struct bpf_code *code, unsigned size, unsigned base, int offset, unsigned from);

/* Adds 64 bits to memory in one step. */
void bpf_add_atomically(struct bpf_code *code, unsigned base, int offset, unsigned from);

/* From the packet, in host order, into register 0. */
void bpf_load_packet(struct bpf_code *code, unsigned size, uint32_t offset);

/* Jumps for bpf_land(). `test` is BPF_JEQ, BPF_JGT and so on. */
unsigned bpf_jump(struct bpf_code *code);
unsigned bpf_jump_if(struct bpf_code *code, unsigned test, unsigned of, uint32_t value);
unsigned bpf_jump_if_register(struct bpf_code *code, unsigned test, unsigned of, unsigned other);

void bpf_call(struct bpf_code *code, int function);
void bpf_leave(struct bpf_code *code);

/* Several instructions: register 0 is the address of the element of `map` whose number, 32 bits, is in the frame at
 * `key`. Where there is none the program ends with the result 0. */
void bpf_look_up(struct bpf_code *code, int map, int key);

/* An array of `entries` values of `size` bytes; all are zero. `flags`: BPF_F_MMAPABLE (Linux 5.5). A descriptor, or a
 * negative errno: -EPERM without CAP_BPF. */
int bpf_make_array(uint32_t size, uint32_t entries, uint32_t flags);

/* Maps the first `bytes` of an array with BPF_F_MMAPABLE. `*mapped` is what munmap() has to be given. NULL: errno. */
void *bpf_map_array(int array, size_t bytes, size_t *mapped);

/* Loads a socket filter. A descriptor, or a negative errno: -E2BIG, -EPERM without CAP_BPF (before Linux 5.8
 * CAP_SYS_ADMIN), -ENOSYS and -EINVAL where the kernel has no such thing. The program holds the arrays that it uses. */
int bpf_load_filter(const struct bpf_insn *program, unsigned count);
