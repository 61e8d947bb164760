// SPDX-License-Identifier: Apache-2.0
/* The rule of which gateway owns which block, as a state machine without I/O: etcd's answers, the gateway's and the
 * time come in, what to do next comes out. One of these for each agent; any one thread.
 *
 *   block/<b>    {node, uuid} with the lease of its owner; or "clean", without one; or there is none
 *   taken/<b>    written in the transaction that takes block b, without a lease: its revision tells one absence of
 *                block/<b> from a later one
 *   node/<name>  {uuid, machine, addresses, draining} with the lease of that agent
 *   members      the nodes that are to own blocks, by the administrator
 *   takers       the nodes that may take blocks now, each with its machine: those of `members` that have registered,
 *                written by one of `takers` (below)
 *
 * etcd 3.4 may revoke a lease that is kept alive, and may acknowledge a keepalive of one that is gone
 * (etcd-io/etcd#15247), so a lease alone proves nothing. The fence does:
 *
 *   - An owner serves a block until OWNERSHIP_FENCE after the *sending* of its last linearizable read that saw its key.
 *   - A block without a key is taken OWNERSHIP_WAIT after the *answer* of the first read that saw no key, if none later
 *     saw one, and taken/<b> has the same revision then, in between and in the transaction. At that answer the key was
 *     deleted already; all reads of its owner that saw it were sent before, so all their fences end OWNERSHIP_FENCE
 *     after it. What OWNERSHIP_WAIT is longer pays for clocks that do not run equally fast. An agent that has just
 *     started has seen nothing: it waits from its own first answer.
 *   - A block whose key is gone, but that no other node has taken, is its owner's until its deadline, and taken
 *     again by it at once.
 *   - A planned move needs no wait: the owner makes its gateway stop, then writes "clean", comparing the revision of
 *     its key; the taker compares the revision of "clean".
 *   - Each transaction compares the revision of node/<name>, too, which an agent writes anew when it starts. Before it
 *     has read that, it serves, takes and promises nothing: then nothing that its earlier process sent can be carried
 *     out any more.
 *
 * Without etcd an owner goes on by promises (ownership_promise.c). While reads are not answered it asks all other
 * takers: "take none of these blocks for OWNERSHIP_WAIT; is `takers` of this revision?" Once all have promised, in
 * answer to one question, and before its deadline, that deadline is OWNERSHIP_FENCE after the *sending* of the
 * question.
 *
 *   - No taker takes such a block meanwhile. One that has a transaction under way that may still take it, or serves it,
 *     does not promise. It has kept the promise when it starts anew: it waits from its own first answer.
 *   - A node that is new in `takers` has promised nothing. But the one of the old takers that wrote it there had
 * stopped promising, and asking, before it sent that, and promises given before are over OWNERSHIP_WAIT after that; the
 * new one sees `takers` later still, and its waits begin anew there. That is why one of the old takers has to write it,
 *     and all transactions that take compare the revision of `takers`. Where all of the old ones are gone for good the
 *     administrator deletes the key, and one of `members` creates it.
 *   - So is another machine with the name of a taker: the former one may be cut off from etcd, and serve by promises.
 *     On the same machine a new process is sure that its predecessor has ended.
 *
 * Time is CLOCK_BOOTTIME of the machine, in ns: only differences on one machine are used. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"

enum {
	OWNERSHIP_BLOCKS = 256, /* 0 is a lone gateway's */
	OWNERSHIP_NODES_MAX = 64,
	OWNERSHIP_NAME = 33, /* with its terminator, as the next three */
	OWNERSHIP_UUID = 37,
	OWNERSHIP_MACHINE = 33,
	OWNERSHIP_SECRET = 32,	    /* bytes */
	OWNERSHIP_ADDRESS = 96,	    /* two, one of each family */
	OWNERSHIP_TAKING_MAX = 16,  /* transactions at once */
	OWNERSHIP_MOVING_MAX = 4,   /* blocks that are "clean", or about to be, before another one is released */
	OWNERSHIP_DRAINING_MAX = 1, /* the same while draining: the next one when the last one was taken */
	OWNERSHIP_TTL = 3,	    /* s, of the lease */
};
#define OWNERSHIP_FENCE	    (2 * NS_PER_S)
#define OWNERSHIP_WAIT	    (2200 * NS_PER_MS)
#define OWNERSHIP_READ	    (400 * NS_PER_MS) /* from one read's sending to the next; four fit into the fence */
#define OWNERSHIP_RETRY	    (100 * NS_PER_MS)
#define OWNERSHIP_KEEPALIVE NS_PER_S
/* The gateway's socket refuses for so long: the process is gone, and serves nothing. A restart takes less. */
#define OWNERSHIP_GONE	    (700 * NS_PER_MS)
/* The gateway does not answer for so long: its blocks are for others once its own fence has ended. */
#define OWNERSHIP_HUNG	    (3 * NS_PER_S)
/* Other takers are asked so long after the sending of the last read that was answered, and then as often as reads are
 * sent. */
#define OWNERSHIP_SILENT    (800 * NS_PER_MS)

enum ownership_key_kind {
	OWNERSHIP_ABSENT,
	OWNERSHIP_OWNED,
	OWNERSHIP_CLEAN,
	OWNERSHIP_UNREADABLE, /* no JSON, or of a newer version: left to others, and never taken */
};

struct ownership_block_key {
	enum ownership_key_kind kind;
	char node[OWNERSHIP_NAME], uuid[OWNERSHIP_UUID]; /* of OWNED */
	uint64_t mod_revision;				 /* 0: absent */
	uint64_t taken_revision;			 /* of taken/<b>; 0: absent */
};

struct ownership_node_key {
	char name[OWNERSHIP_NAME], uuid[OWNERSHIP_UUID];
	char inside[OWNERSHIP_ADDRESS];
	char agent[OWNERSHIP_ADDRESS]; /* of its agent, address:port (UDP); "": none */
	char machine[OWNERSHIP_MACHINE];
	uint64_t create_revision, mod_revision;
	bool draining; /* takes no blocks */
};

struct ownership_takers {
	size_t count;
	char names[OWNERSHIP_NODES_MAX][OWNERSHIP_NAME];
	char machines[OWNERSHIP_NODES_MAX][OWNERSHIP_MACHINE];
};

/* What one linearizable read saw. */
struct ownership_view {
	uint64_t sent;	   /* ns, before the request was sent */
	uint64_t revision; /* of the store */
	struct ownership_block_key blocks[OWNERSHIP_BLOCKS];
	struct ownership_node_key nodes[OWNERSHIP_NODES_MAX];
	size_t node_count;
	bool members_readable; /* else nothing is taken, and nothing moves */
	uint64_t members_revision;
	char members[OWNERSHIP_NODES_MAX][OWNERSHIP_NAME];
	size_t member_count;
	bool takers_readable;	  /* also false where there is no such key */
	uint64_t takers_revision; /* 0: there is no such key */
	struct ownership_takers takers;
	/* The key of promises. */
	uint64_t secret_revision; /* 0: there is no such key */
	bool secret_readable;
	uint8_t secret[OWNERSHIP_SECRET];
};

/* Blocks as bits: block b is bit b % 64 of word b / 64. */
enum { OWNERSHIP_SET_WORDS = OWNERSHIP_BLOCKS / 64 };
struct ownership_set {
	uint64_t words[OWNERSHIP_SET_WORDS];
};

static inline bool ownership_set_has(const struct ownership_set *set, unsigned block)
{
	return (set->words[block / 64] >> (block % 64) & 1) != 0;
}

static inline void ownership_set_add(struct ownership_set *set, unsigned block)
{
	set->words[block / 64] |= UINT64_C(1) << (block % 64);
}

enum ownership_action_kind {
	OWNERSHIP_DO_READ,	/* ownership_read() */
	OWNERSHIP_DO_GRANT,	/* a lease of OWNERSHIP_TTL: ownership_granted() */
	OWNERSHIP_DO_KEEPALIVE, /* of `lease`: ownership_kept() */
	OWNERSHIP_DO_REGISTER,	/* put node/<name> with `lease` and `draining`, if its create revision is
				   `create_revision` (0: it is absent): ownership_registered() */
	OWNERSHIP_DO_TAKE,	/* put block/<block> with `lease`, and taken/<block>, if node/<name> has
				   `node_revision`, `takers` has `takers_revision`, block/<block> `mod_revision` (0:
				   absent) and taken/<block> `taken_revision`: ownership_taken() */
	OWNERSHIP_DO_CLEAN,	/* put "clean" to block/<block> if that has `mod_revision`, and node/<name>
				   `node_revision`: ownership_cleaned() */
	OWNERSHIP_DO_SERVE,	/* tell the gateway that the blocks of ownership_named() are its own until `until`, and
				   that no others are: ownership_answered() */
	OWNERSHIP_DO_RELEASE,	/* tell the gateway to stop serving `block`: ownership_answered() */
	OWNERSHIP_DO_REPLACE,	/* put ownership_wanted_takers() of the last view to `takers`, if that has
				   `takers_revision` (0: it is absent), `members` `members_revision` and node/<name>
				   `node_revision`: ownership_replaced() */
	OWNERSHIP_DO_ASK,	/* ask all takers of the last view but this node to take none of `asked` for
				   OWNERSHIP_WAIT, if `takers_revision` is theirs: ownership_promised() for each answer
				   to `question`, if there is one */
};

struct ownership_action {
	enum ownership_action_kind kind;
	unsigned block;
	int64_t lease;
	uint64_t create_revision, mod_revision, taken_revision;
	uint64_t node_revision, takers_revision, members_revision;
	bool draining;
	uint64_t until;
	struct ownership_set asked;
	uint64_t question;
};

/* What became of a transaction. */
enum ownership_outcome {
	OWNERSHIP_DONE,
	OWNERSHIP_REFUSED,  /* a comparison did not hold, or etcd refused */
	OWNERSHIP_NO_LEASE, /* etcd has no such lease */
	OWNERSHIP_UNKNOWN,  /* no answer: it may have been done, or be done later */
};

enum ownership_answer {
	OWNERSHIP_ANSWERED,
	OWNERSHIP_DECLINED,   /* an error of the gateway's */
	OWNERSHIP_UNANSWERED, /* it may still act on the request */
	OWNERSHIP_NO_GATEWAY, /* nothing listens */
};

enum ownership_doing {
	OWNERSHIP_IDLE,
	OWNERSHIP_TAKING,    /* the transaction is under way; a block that is ours or kept is served */
	OWNERSHIP_RELEASING, /* not served any more; the gateway is to be told, or is being told */
	OWNERSHIP_CLEANING,  /* the gateway has stopped, or will have at `clean_after`; "clean" is to be written */
	OWNERSHIP_WRITING,   /* the transaction is under way */
};

struct ownership_block {
	struct ownership_block_key key; /* as last seen */
	bool mine;			/* the key was ours */
	bool kept; /* it is gone, but no node has taken the block since we did, and `until` was not past then */
	enum ownership_doing doing;
	uint64_t until;		     /* of MINE or KEPT: the deadline; else 0 */
	uint64_t own_taken_revision; /* of taken/<b>, when it was mine */
	uint64_t absent_since;	     /* answer of the first read that saw this absence; 0: not absent */
	uint64_t clean_after;
	/* A transaction of ours that takes the block has no answer, or was done; also one before that under way. It can
	 * do nothing once taken/<b> has another revision than it compared. */
	bool may_be_taken, might_have_been_taken;
	uint64_t may_be_taken_revision;
	uint64_t promised_until; /* to another taker: we do not take it before; 0: not promised */
};

/* What becomes of another taker's question. */
enum ownership_verdict {
	OWNERSHIP_PROMISED,
	OWNERSHIP_NOT_READY,	   /* nothing read yet, or what an earlier process sent may still be carried out */
	OWNERSHIP_NO_TAKER,	   /* the other one, or this one with its machine, is not in `takers` */
	OWNERSHIP_OTHER_TAKERS,	   /* `takers` has another revision here, */
	OWNERSHIP_TAKERS_REPLACED, /* or is about to have one, by this node */
	OWNERSHIP_BLOCK_IN_USE,	   /* it is served here, or may just be being taken */
	OWNERSHIP_VERDICTS,
};

/* The last question to the other takers. */
struct ownership_question {
	uint64_t number; /* 0: there was none */
	uint64_t sent, takers_revision;
	struct ownership_set asked, promised; /* the second: by all that have answered */
	bool answered[OWNERSHIP_NODES_MAX];   /* by index in `takers` */
	unsigned others, promises, refusals;
	bool agreed; /* all have promised, and a deadline was put off */
};

struct ownership_figures {
	uint64_t reads, reads_failed;
	uint64_t taken, cleaned;	       /* transactions that were done */
	uint64_t lost;			       /* blocks of ours whose key was gone or another's */
	uint64_t fences;		       /* times that the fence ended while blocks were ours */
	uint64_t questions, agreements;	       /* to other takers; those to which all have promised in time */
	uint64_t verdicts[OWNERSHIP_VERDICTS]; /* on questions of other takers */
};

struct ownership {
	/* --- as configured --- */
	char node[OWNERSHIP_NAME], uuid[OWNERSHIP_UUID], machine[OWNERSHIP_MACHINE];
	unsigned block_count; /* blocks are 1 .. block_count */
	/* --- registration --- */
	int64_t lease; /* 0: none */
	bool granting, keeping, registering;
	bool registered;    /* node/<name> was ours at the last read */
	bool name_is_used;  /* it was another agent's */
	bool said_draining; /* what our key says */
	uint64_t create_revision, node_revision;
	bool goes_on;		 /* with the uuid of an earlier process */
	bool fresh;		 /* node/<name> was seen as this process wrote it */
	uint64_t first_revision; /* of the store at the first read */
	uint64_t keepalive_at, grant_at, register_at;
	/* --- reads --- */
	bool reading, seen_any;
	/* What was reported during the read under way, which may not have seen it: something, or up to a revision. */
	bool read_again;
	uint64_t read_again_below;
	uint64_t revision;	     /* of the store, at the last read */
	uint64_t read_at, read_sent; /* the second: of the last one that was answered */
	uint64_t until;		     /* the fence: of the last read that counts */
	uint64_t least_revision;     /* of a view that counts: none from before our own last "clean" */
	bool is_member, members_readable;
	unsigned share;	 /* how many blocks we are to have */
	unsigned others; /* members that are alive and take blocks, without us */
	unsigned moving;
	bool fenced;
	struct ownership_block blocks[OWNERSHIP_BLOCKS];
	/* --- takers, and promises --- */
	uint64_t takers_revision; /* 0: there is no such key */
	bool takers_readable;
	struct ownership_takers takers;
	bool replaceable;	   /* this node may and has to write `takers` */
	uint64_t members_revision; /* that it is to be written after */
	bool replacing;		   /* the transaction is under way */
	/* We have sent one that compares this revision of `takers`, and that may be carried out; before the last one,
	 * too. It can do nothing any more once `takers`, or node/<name>, has another revision. */
	bool may_be_replaced, might_have_been_replaced;
	uint64_t replaced_node_revision;
	uint64_t replace_at, ask_at;
	struct ownership_question question;
	/* --- the gateway: one request at a time --- */
	bool talking, talking_release;
	unsigned talking_block;
	uint64_t talking_until; /* of the SERVE under way; 0: it names no block */
	uint64_t granted_until; /* the latest that any SERVE has named blocks for */
	uint64_t unsure_until;	/* the same, of those that were not answered */
	uint64_t serve_at;
	bool gateway_up;		/* the last request was answered */
	uint64_t gateway_silent_since;	/* 0: it answered last */
	uint64_t gateway_refused_since; /* 0: something listened last */
	bool draining;			/* wanted by the operator */
	struct ownership_figures figures;
};

/* `uuid` is this agent's; `lease` that of an earlier process with the same uuid, or 0. What that process has told
 * the gateway stands until the first read, for OWNERSHIP_FENCE at most. `machine`: of two agents with this node name
 * and machine at least one has ended, whatever etcd says. */
void ownership_init(struct ownership *ownership, const char *node, const char *uuid, const char *machine,
		    unsigned block_count, int64_t lease, uint64_t now);

/* The next thing to do now; false: nothing before ownership_deadline(). Each has to be followed by one call of the
 * function that it names, and several may be under way. */
bool ownership_next(struct ownership *ownership, uint64_t now, struct ownership_action *action);
uint64_t ownership_deadline(const struct ownership *ownership, uint64_t now);

/* --- events ------------------------------------------------------------------------------------------------------- */

/* NULL: no answer. */
void ownership_read(struct ownership *ownership, const struct ownership_view *view, uint64_t now);

/* Something changed, in that revision of the store (0: unknown). It is read now, unless the last read has seen it; and
 * once more after a read that is under way, if that did not see it. */
void ownership_changed(struct ownership *ownership, uint64_t revision, uint64_t now);

/* 0: no answer. */
void ownership_granted(struct ownership *ownership, int64_t lease, uint64_t now);

/* OWNERSHIP_NO_LEASE: it is gone. */
void ownership_kept(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now);
void ownership_registered(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now);
void ownership_taken(struct ownership *ownership, unsigned block, enum ownership_outcome outcome, uint64_t now);

/* `revision` is the store's in the transaction's answer. */
void ownership_cleaned(struct ownership *ownership, unsigned block, enum ownership_outcome outcome, uint64_t revision,
		       uint64_t now);
void ownership_answered(struct ownership *ownership, enum ownership_answer answer, uint64_t now);

void ownership_replaced(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now);

/* An answer of taker `node` to question `number`: the blocks that it promises not to take for OWNERSHIP_WAIT, or NULL:
 * it does not promise. Anything may come here: an answer to an earlier question, a second one, another node's. */
void ownership_promised(struct ownership *ownership, uint64_t number, const char *node,
			const struct ownership_set *promised, uint64_t now);

/* Taker `node` asks. OWNERSHIP_PROMISED: none of these blocks is taken here for OWNERSHIP_WAIT from `now` on. */
enum ownership_verdict ownership_asked(struct ownership *ownership, const char *node, uint64_t takers_revision,
				       const struct ownership_set *asked, uint64_t now);

/* The operator has all blocks handed over, and none taken; or no longer. They go one by one, and only while another
 * member is alive that takes them: else they are served here, and free ones taken. */
void ownership_drain(struct ownership *ownership, bool draining, uint64_t now);

/* Which takers there should be: the members that are registered, with the machines that they are on now, and those that
 * are takers and are not registered now. */
void ownership_wanted_takers(const struct ownership_view *view, struct ownership_takers *wanted);

/* --- state -------------------------------------------------------------------------------------------------------- */

/* Whether the gateway is to serve that block now. */
bool ownership_serves(const struct ownership *ownership, unsigned block, uint64_t now);

/* Whether OWNERSHIP_DO_SERVE with that `until` names the block. */
bool ownership_named(const struct ownership *ownership, unsigned block, uint64_t until, uint64_t now);

/* How many blocks have our key, served or not. */
unsigned ownership_count(const struct ownership *ownership);
