// SPDX-License-Identifier: Apache-2.0
#include "core/base/queue_shares.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/bpf.h"
#include "core/base/hot.h"

enum {
	/* arrays */
	QUEUES,
	TAKEN,
	ENTERED,
	/* registers: those that survive a call */
	TAKEN_OUT = BPF_REG_7,
	MEMBER = BPF_REG_8,
	QUEUE = BPF_REG_9,
	NOW = QUEUE_SHARES_OWN, /* in the frame */
};
enum {
	REFUSED_PART = 32, /* of what is served: so little may be refused without shares being changed */
	GROWTH_PART = 8,   /* of a share, where less is refused */
	BEST_PART = 512,   /* of what was read in the best window, for each later one */
};
#define FORGET_NS NS_PER_S

/* The program's, of a member. */
struct entered {
	uint64_t last; /* when its last packet was let in */
	uint64_t word;
	uint64_t begin; /* of its window */
	uint64_t sum;	/* of bytes in it */
};

/* --- the program -------------------------------------------------------------------------------------------------- */

/* Register `in` = what is in the queue: what was let in, in memory at `base`, less register `taken`. All that was let
 * in before register 2, a time at which the queue was empty, is out. Counters that several CPUs changed at once may be
 * off by a little, below 0 too. */
static void in_queue(struct bpf_code *code, unsigned base, int last, int entered, unsigned taken, unsigned in)
{
	bpf_load(code, BPF_DW, BPF_REG_1, base, last);
	unsigned later = bpf_jump_if_register(code, BPF_JGE, BPF_REG_1, BPF_REG_2);
	bpf_store(code, BPF_DW, base, entered, taken);
	bpf_land(code, later);
	bpf_load(code, BPF_DW, in, base, entered);
	bpf_combine(code, BPF_SUB, in, taken);
	unsigned positive = bpf_jump_if(code, BPF_JSGE, in, 0);
	bpf_constant(code, BPF_MOV, in, 0);
	bpf_land(code, positive);
}

void queue_shares_emit_find(struct bpf_code *code, const struct queue_shares *shares)
{
	bpf_look_up(code, shares->arrays[TAKEN], QUEUE_SHARES_MEMBER);
}

/* Registers 7, 8, 9: what was taken of the member, and where the program's counters are. */
static void find_counters(struct bpf_code *code, const struct queue_shares *shares)
{
	bpf_load(code, BPF_DW, TAKEN_OUT, BPF_RESULT, offsetof(struct queue_shares_member, taken));
	bpf_look_up(code, shares->arrays[ENTERED], QUEUE_SHARES_MEMBER);
	bpf_combine(code, BPF_MOV, MEMBER, BPF_RESULT);
	bpf_look_up(code, shares->arrays[QUEUES], QUEUE_SHARES_QUEUE);
	bpf_combine(code, BPF_MOV, QUEUE, BPF_RESULT);
}

/* Register 2 = the latest time at which the queue was empty, as far as is known. */
static void load_empty(struct bpf_code *code)
{
	bpf_call(code, BPF_FUNC_ktime_get_boot_ns);
	bpf_store(code, BPF_DW, BPF_FRAME, NOW, BPF_RESULT);
	bpf_load(code, BPF_DW, BPF_REG_2, QUEUE, offsetof(struct queue_shares_queue, drained));
	bpf_constant(code, BPF_SUB, BPF_RESULT, FORGET_NS);
	unsigned later = bpf_jump_if_register(code, BPF_JGE, BPF_REG_2, BPF_RESULT);
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_RESULT);
	bpf_land(code, later);
}

static void add_to_queue(struct bpf_code *code, int offset, unsigned from)
{
	bpf_add_atomically(code, QUEUE, offset, from);
}

/* The packet's cost without its slot. */
static void load_bytes(struct bpf_code *code, unsigned to)
{
	bpf_load(code, BPF_DW, to, BPF_FRAME, QUEUE_SHARES_COST);
	bpf_constant(code, BPF_LSH, to, 64 - QUEUE_SHARES_SLOT_BIT);
	bpf_constant(code, BPF_RSH, to, 64 - QUEUE_SHARES_SLOT_BIT);
}

/* Counts the packet in its member's window; register 2 stays. Returns the jump of those above the share. */
static unsigned count_in_window(struct bpf_code *code)
{
	bpf_load(code, BPF_DW, BPF_REG_0, BPF_FRAME, NOW);
	bpf_load(code, BPF_DW, BPF_REG_1, MEMBER, offsetof(struct entered, begin));
	bpf_combine(code, BPF_MOV, BPF_REG_3, BPF_REG_0);
	bpf_combine(code, BPF_SUB, BPF_REG_3, BPF_REG_1);
	bpf_load(code, BPF_DW, BPF_REG_1, MEMBER, offsetof(struct entered, sum));
	unsigned same = bpf_jump_if(code, BPF_JLE, BPF_REG_3, QUEUE_SHARES_WINDOW_NS);
	bpf_store(code, BPF_DW, MEMBER, offsetof(struct entered, begin), BPF_REG_0);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 1);
	add_to_queue(code, offsetof(struct queue_shares_queue, active), BPF_REG_1);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 0);
	bpf_land(code, same);
	bpf_load(code, BPF_DW, BPF_REG_3, QUEUE, offsetof(struct queue_shares_queue, share));
	unsigned above = bpf_jump_if_register(code, BPF_JGE, BPF_REG_1, BPF_REG_3);
	load_bytes(code, BPF_REG_3);
	bpf_combine(code, BPF_ADD, BPF_REG_1, BPF_REG_3);
	bpf_store(code, BPF_DW, MEMBER, offsetof(struct entered, sum), BPF_REG_1);
	return above;
}

static void leave_it_out(struct bpf_code *code)
{
	bpf_constant(code, BPF_MOV, BPF_RESULT, 0);
	bpf_leave(code);
}

static void let_in(struct bpf_code *code)
{
	bpf_load(code, BPF_DW, BPF_REG_1, BPF_FRAME, NOW);
	bpf_store(code, BPF_DW, MEMBER, offsetof(struct entered, last), BPF_REG_1);
	bpf_store(code, BPF_DW, QUEUE, offsetof(struct queue_shares_queue, last), BPF_REG_1);
	bpf_load(code, BPF_DW, BPF_REG_1, BPF_FRAME, QUEUE_SHARES_COST);
	bpf_add_atomically(code, MEMBER, offsetof(struct entered, word), BPF_REG_1);
	add_to_queue(code, offsetof(struct queue_shares_queue, entered), BPF_REG_1);
	bpf_load(code, BPF_W, BPF_RESULT, BPF_PACKET, offsetof(struct __sk_buff, len));
	bpf_leave(code);
}

/* In both slots and bytes: what the member has must not be more than what is free, so its own and all together fit.
 * Either of the two may be below 0 alone, and borrows from the other then. */
void queue_shares_emit_decide(struct bpf_code *code, const struct queue_shares *shares)
{
	find_counters(code, shares);
	load_empty(code);
	unsigned above = count_in_window(code);
	in_queue(code, MEMBER, offsetof(struct entered, last), offsetof(struct entered, word), TAKEN_OUT, BPF_REG_3);
	bpf_load(code, BPF_DW, BPF_REG_4, QUEUE, offsetof(struct queue_shares_queue, taken));
	in_queue(code, QUEUE, offsetof(struct queue_shares_queue, last), offsetof(struct queue_shares_queue, entered),
		 BPF_REG_4, BPF_REG_5);
	bpf_combine(code, BPF_ADD, BPF_REG_5, BPF_REG_3);

	bpf_constant(code, BPF_MOV, BPF_REG_1, 1);
	bpf_constant(code, BPF_LSH, BPF_REG_1, QUEUE_SHARES_SLOT_BIT - 1);
	bpf_combine(code, BPF_ADD, BPF_REG_1, BPF_REG_5);
	bpf_constant(code, BPF_ARSH, BPF_REG_1, QUEUE_SHARES_SLOT_BIT);
	bpf_load(code, BPF_DW, BPF_REG_2, QUEUE, offsetof(struct queue_shares_queue, slots));
	unsigned too_many = bpf_jump_if_register(code, BPF_JSGE, BPF_REG_1, BPF_REG_2);
	bpf_constant(code, BPF_LSH, BPF_REG_5, 64 - QUEUE_SHARES_SLOT_BIT);
	bpf_constant(code, BPF_ARSH, BPF_REG_5, 64 - QUEUE_SHARES_SLOT_BIT);
	bpf_load(code, BPF_DW, BPF_REG_2, QUEUE, offsetof(struct queue_shares_queue, bytes));
	unsigned too_much = bpf_jump_if_register(code, BPF_JSGE, BPF_REG_5, BPF_REG_2);
	let_in(code);
	bpf_land(code, too_many);
	bpf_land(code, too_much);
	load_bytes(code, BPF_REG_1);
	add_to_queue(code, offsetof(struct queue_shares_queue, refused), BPF_REG_1);
	leave_it_out(code);
	bpf_land(code, above);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 1);
	add_to_queue(code, offsetof(struct queue_shares_queue, limited), BPF_REG_1);
	leave_it_out(code);
}

/* --- the arrays --------------------------------------------------------------------------------------------------- */

static int map(struct queue_shares *shares, uint32_t queues)
{
	shares->queues = bpf_map_array(shares->arrays[QUEUES], queues * sizeof *shares->queues, &shares->queues_mapped);
	if (shares->queues == NULL)
		return -errno;
	shares->members = bpf_map_array(shares->arrays[TAKEN],
					(size_t)queues * shares->stride * sizeof *shares->members,
					&shares->members_mapped);
	return shares->members != NULL ? 0 : -errno;
}

int queue_shares_make(struct queue_shares *shares, uint32_t queues, uint32_t members)
{
	*shares = (struct queue_shares){.stride = members};
	shares->arrays[QUEUES] = bpf_make_array(sizeof(struct queue_shares_queue), queues, BPF_F_MMAPABLE);
	shares->arrays[TAKEN] = bpf_make_array(sizeof(struct queue_shares_member), queues * members, BPF_F_MMAPABLE);
	shares->arrays[ENTERED] = bpf_make_array(sizeof(struct entered), queues * members, 0);
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(shares->arrays) && result == 0; i++)
		result = shares->arrays[i] < 0 ? shares->arrays[i] : 0;
	if (result == 0)
		result = map(shares, queues);
	if (result != 0)
		queue_shares_unmake(shares);
	return result;
}

void queue_shares_close_arrays(struct queue_shares *shares)
{
	for (size_t i = 0; i < ARRAY_SIZE(shares->arrays); i++) {
		if (shares->arrays[i] >= 0)
			close(shares->arrays[i]);
		shares->arrays[i] = -1;
	}
}

void queue_shares_unmake(struct queue_shares *shares)
{
	if (shares->stride == 0)
		return;
	queue_shares_close_arrays(shares);
	if (shares->queues != NULL)
		munmap(shares->queues, shares->queues_mapped);
	if (shares->members != NULL)
		munmap(shares->members, shares->members_mapped);
	*shares = (struct queue_shares){0};
}

/* --- shares in a window of time ----------------------------------------------------------------------------------- */

/* What was counted since the last call. */
static uint64_t since_last(const _Atomic uint64_t *counter, uint64_t *last)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed), gained = now - *last;
	*last = now;
	return gained;
}

static uint64_t reduced(uint64_t share, uint64_t served, uint64_t refused, uint64_t least)
{
	uint64_t wanted = served + refused;
	share = share < wanted ? share : wanted;
	share = (uint64_t)((double)share * (double)served / (double)wanted);
	return share > least ? share : least;
}

/* An equal part is one of the most that was read in a window of late: what shares keep out cannot be read, so that they
 * would reduce each other without end. */
HOT void queue_shares_adapt(struct queue_shares_tally *tally, uint64_t now)
{
	struct queue_shares_queue *queue = tally->queue;
	uint64_t took = now - tally->window;
	if (took < QUEUE_SHARES_WINDOW_NS)
		return;
	uint64_t members = since_last(&queue->active, &tally->active) * QUEUE_SHARES_WINDOW_NS / took;
	uint64_t limited = since_last(&queue->limited, &tally->limited);
	uint64_t refused = since_last(&queue->refused, &tally->refused);
	uint64_t served = tally->served, share = atomic_load_explicit(&queue->share, memory_order_relaxed);
	tally->window = now;
	tally->served = 0;
	if (took > 2 * QUEUE_SHARES_WINDOW_NS)
		return;
	tally->best -= tally->best / BEST_PART;
	tally->best = tally->best > served ? tally->best : served;
	if (refused > served / REFUSED_PART)
		share = reduced(share, served, refused, tally->best / (members != 0 ? members : 1));
	else
		share = limited == 0 ? UINT64_MAX : share + share / GROWTH_PART;
	atomic_store_explicit(&queue->share, share, memory_order_relaxed);
}
