// SPDX-License-Identifier: Apache-2.0
#include "core/base/sparse_queue.h"

#include <stddef.h>

enum {
	/* of a window */
	BEGIN = 0,
	SUM = 8,
};

void sparse_emit_time(struct bpf_code *code)
{
	bpf_call(code, BPF_FUNC_ktime_get_boot_ns);
	bpf_combine(code, BPF_MOV, SPARSE_NOW, BPF_RESULT);
}

void sparse_emit_drained(struct bpf_code *code, unsigned queue)
{
	bpf_load(code, BPF_DW, BPF_REG_2, queue, offsetof(struct sparse_queue, drained));
	bpf_store(code, BPF_DW, BPF_FRAME, SPARSE_DRAINED, BPF_REG_2);
}

void sparse_emit_add(struct bpf_code *code, unsigned base, int offset)
{
	bpf_load(code, BPF_DW, BPF_REG_3, BPF_FRAME, SPARSE_COST);
	bpf_load(code, BPF_DW, BPF_REG_1, base, offset + BEGIN);
	bpf_combine(code, BPF_MOV, BPF_REG_2, SPARSE_NOW);
	bpf_combine(code, BPF_SUB, BPF_REG_2, BPF_REG_1);
	unsigned over = bpf_jump_if(code, BPF_JGT, BPF_REG_2, SPARSE_WINDOW_NS);
	bpf_load(code, BPF_DW, BPF_REG_1, base, offset + SUM);
	unsigned goes_on = bpf_jump(code);
	bpf_land(code, over);
	bpf_store(code, BPF_DW, base, offset + BEGIN, SPARSE_NOW);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 0);
	bpf_land(code, goes_on);
	bpf_combine(code, BPF_ADD, BPF_REG_1, BPF_REG_3);
	bpf_store(code, BPF_DW, base, offset + SUM, BPF_REG_1);
}

unsigned sparse_emit_count(struct bpf_code *code, unsigned base, int offset, uint32_t most)
{
	sparse_emit_add(code, base, offset);
	return bpf_jump_if(code, BPF_JGT, BPF_REG_1, most);
}

unsigned sparse_emit_not_drained(struct bpf_code *code, unsigned member)
{
	bpf_load(code, BPF_DW, BPF_REG_1, member, offsetof(struct sparse_member, last_dense));
	bpf_load(code, BPF_DW, BPF_REG_2, BPF_FRAME, SPARSE_DRAINED);
	return bpf_jump_if_register(code, BPF_JGT, BPF_REG_1, BPF_REG_2);
}

unsigned sparse_emit_held(struct bpf_code *code, unsigned member)
{
	bpf_load(code, BPF_DW, BPF_REG_1, member, offsetof(struct sparse_member, last_dense));
	bpf_combine(code, BPF_MOV, BPF_REG_2, SPARSE_NOW);
	bpf_combine(code, BPF_SUB, BPF_REG_2, BPF_REG_1);
	return bpf_jump_if(code, BPF_JLT, BPF_REG_2, SPARSE_HOLD_NS);
}

void sparse_emit_dense(struct bpf_code *code, unsigned member)
{
	bpf_store(code, BPF_DW, member, offsetof(struct sparse_member, last_dense), SPARSE_NOW);
}
