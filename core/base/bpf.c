// SPDX-License-Identifier: Apache-2.0
#include "core/base/bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* with BPF_LD, BPF_W and BPF_IMM, which are 0 */
enum { LOAD_CONSTANT = BPF_DW };

/* --- an assembler ------------------------------------------------------------------------------------------------- */

unsigned bpf_emit(struct bpf_code *code, struct bpf_insn instruction)
{
	unsigned at = code->count < BPF_CODE_MOST ? code->count : BPF_CODE_MOST;
	code->at[at] = instruction;
	code->count = at + 1;
	return at;
}

void bpf_land(struct bpf_code *code, unsigned jump)
{
	code->at[jump].off = (int16_t)(code->count - jump - 1);
}

void bpf_constant(struct bpf_code *code, unsigned operation, unsigned to, uint32_t value)
{
	bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_K),
					 .dst_reg = to & 15,
					 .imm = (int32_t)value});
}

void bpf_combine(struct bpf_code *code, unsigned operation, unsigned to, unsigned from)
{
	bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_X),
					 .dst_reg = to & 15,
					 .src_reg = from & 15});
}

void bpf_load(struct bpf_code *code, unsigned size, unsigned to, unsigned base, int offset)
{
	bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_LDX | BPF_MEM | size),
					 .dst_reg = to & 15,
					 .src_reg = base & 15,
					 .off = (int16_t)offset});
}

static void store_as(struct bpf_code *code, unsigned how, unsigned base, int offset, unsigned from)
{
	bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_STX | how),
					 .dst_reg = base & 15,
					 .src_reg = from & 15,
					 .off = (int16_t)offset});
}

void bpf_store(struct bpf_code *code, unsigned size, unsigned base, int offset, unsigned from)
{
	store_as(code, BPF_MEM | size, base, offset, from);
}

void bpf_add_atomically(struct bpf_code *code, unsigned base, int offset, unsigned from)
{
	store_as(code, BPF_XADD | BPF_DW, base, offset, from);
}

void bpf_load_packet(struct bpf_code *code, unsigned size, uint32_t offset)
{
	bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_LD | BPF_ABS | size), .imm = (int32_t)offset});
}

unsigned bpf_jump(struct bpf_code *code)
{
	return bpf_emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_JA});
}

unsigned bpf_jump_if(struct bpf_code *code, unsigned test, unsigned of, uint32_t value)
{
	return bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_JMP | test | BPF_K),
						.dst_reg = of & 15,
						.imm = (int32_t)value});
}

unsigned bpf_jump_if_register(struct bpf_code *code, unsigned test, unsigned of, unsigned other)
{
	return bpf_emit(code, (struct bpf_insn){.code = (uint8_t)(BPF_JMP | test | BPF_X),
						.dst_reg = of & 15,
						.src_reg = other & 15});
}

void bpf_call(struct bpf_code *code, int function)
{
	bpf_emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = function});
}

void bpf_leave(struct bpf_code *code)
{
	bpf_emit(code, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT});
}

/* The verifier wants to see the address compared. */
void bpf_look_up(struct bpf_code *code, int map, int key)
{
	bpf_emit(code, (struct bpf_insn){
			       .code = LOAD_CONSTANT, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map});
	bpf_emit(code, (struct bpf_insn){0}); /* the upper half */
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_FRAME);
	bpf_constant(code, BPF_ADD, BPF_REG_2, (uint32_t)key);
	bpf_call(code, BPF_FUNC_map_lookup_elem);
	unsigned found = bpf_jump_if(code, BPF_JNE, BPF_RESULT, 0);
	bpf_leave(code);
	bpf_land(code, found);
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

static int call_kernel(enum bpf_cmd command, union bpf_attr *attributes)
{
	long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
	return result >= 0 ? (int)result : -errno;
}

int bpf_make_array(uint32_t size, uint32_t entries, uint32_t flags)
{
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = sizeof(uint32_t);
	attributes.value_size = size;
	attributes.max_entries = entries;
	attributes.map_flags = flags;
	return call_kernel(BPF_MAP_CREATE, &attributes);
}

/* The last page is mapped whole. */
void *bpf_map_array(int array, size_t bytes, size_t *mapped)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
	void *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, array, 0);
	*mapped = whole;
	return memory != MAP_FAILED ? memory : NULL;
}

int bpf_load_filter(const struct bpf_insn *program, unsigned count)
{
	if (count > BPF_CODE_MOST)
		return -E2BIG;
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attributes.insn_cnt = count;
	attributes.insns = (uintptr_t)program;
	attributes.license = (uintptr_t) "Apache-2.0";
	return call_kernel(BPF_PROG_LOAD, &attributes);
}
