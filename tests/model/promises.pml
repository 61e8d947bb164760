/* SPDX-License-Identifier: Apache-2.0
 *
 * The promises by which a gateway goes on owning a block of sessions while etcd does not answer (core/agent/ownership.h), on
 * top of what tests/model/ownership.pml shows of reads, waits and takes; planned moves are left to that. A state is small
 * enough for spin to visit all of them; tests/model/run does.
 *
 *   key      the block's in etcd: absent, or held by a node
 *   taken    each take changes its revision, which is not needed as a number: of each that somebody has seen, whether it is
 *            the present one
 *   takers   the list of those that may take the block: TAKERS_0, and at some time TAKERS_1 (a bit for each node; another machine
 *            of the same name is another node)
 *
 *   look     a linearizable read of all three. The node's own key: the node owns the block for TERM ticks, from the sending on.
 *            No key: it waits for WAIT ticks, from the answer on; anew when `taken` or `takers` has changed. No key, but the
 *            same `taken` as when it was its own, and its deadline is not past: it is kept
 *   take     a transaction of a taker, if the key is absent, and `taken` and `takers` are as they were seen. It is sent after
 *            the wait and not while the node has promised; at once for a block that is kept
 *   replace  a transaction of a taker: TAKERS_1 in place of TAKERS_0. From its sending on the node neither promises nor extends
 *            under TAKERS_0
 *   ask      an owner asks all other takers. One that has no take under way promises for WAIT ticks, if `takers` is what it has
 *            seen, too. Once all have, and before its deadline, the owner's deadline is TERM ticks after the sending
 *
 * A request to etcd, or a message between nodes, may be under way for any time, and be lost; a node may give up on one that is
 * carried out later. Keys go at any time. An agent may start anew with its uuid, while its gateway serves until the deadline
 * that it has; before all else it makes void what it sent before, by writing its node's key, which all transactions compare. All
 * may pause anywhere: it is the clock that goes on. TERM is by a clock that is as slow as any, WAIT by one that is as fast as any.
 *
 * Proven is that at most one node owns the block: an assertion where a node begins to own or owns for longer; for two nodes, one
 * of which may start anew, and for one taker that gets company. A macro takes one precaution away, and spin has to find what then
 * goes wrong (tests/model/run has the list), also among three nodes, all of whose states are too many. With PROMISES_WHILE_TAKING,
 * PROMISES_WITHOUT_ANSWER or NOT_REGISTERED_ANEW nothing goes wrong: an owner's deadline is past before another one sends a take.
 * (It is a late "clean" that has to be made void at a start: tests/unit/test_agent_ownership.c.) */

#ifndef NODES
#define NODES 3
#endif
#ifndef TAKERS_0
#define TAKERS_0 ((1 << NODES) - 1)
#endif
#ifndef TAKERS_1
#define TAKERS_1 TAKERS_0 /* they do not change */
#endif
#ifndef FAULTS
#define FAULTS 0 /* restarts of agents */
#endif
/* To have fewer states of three nodes: those that take the block at all, that look at it, that replace takers, and that ask
 * (bits). */
#ifndef TAKES
#define TAKES ((1 << NODES) - 1)
#endif
#ifndef LOOKS
#define LOOKS TAKES
#endif
#ifndef REPLACES
#define REPLACES ((1 << NODES) - 1)
#endif
#ifndef ASKS
#define ASKS ((1 << NODES) - 1)
#endif
#define TERM 2
#define WAIT TERM

mtype = { NOTHING, ABSENT, HELD, OWN, LOOK, TAKE, REPLACE };

#define bit_of(node) (1 << (node))
#define takers_of(list) ((list) == 0 -> TAKERS_0 : TAKERS_1)
#define is_taker(node, list) ((takers_of(list) & bit_of(node)) != 0)
#define others_of(node, list) (takers_of(list) & ~bit_of(node))
#define UNSEEN 2

/* etcd */
mtype key = HELD;
byte holder = 0;
byte takers = 0;

/* A request to etcd. */
typedef exchange {
	mtype kind = NOTHING; /* NOTHING: none is under way */
	bool current;	      /* TAKE: nobody took the block since what it compares with; LOOK: since what it found */
	byte list;	      /* TAKE, REPLACE: the takers that it compares with; LOOK: that it found */
	bool applied;	      /* the answer is under way */
	mtype found;	      /* LOOK: ABSENT, HELD (by another), OWN */
	bool same;	      /* LOOK: nobody took it since what the node knew before */
	byte left;	      /* LOOK: of the deadline that the answer may give */
};
exchange request[NODES], late[NODES]; /* what a node waits for, and a write that it has given up on */

/* A node: agent and gateway. */
mtype known[NODES] = NOTHING; /* what the agent saw last */
bool current[NODES];	      /* nobody took the block since that */
bool kept[NODES];	      /* with ABSENT: it was its own before */
byte list[NODES] = UNSEEN;    /* of takers, as seen last */
bool replaces[NODES];	      /* it has sent REPLACE */
bool replacing[NODES];	      /* of one that does not look: REPLACE is under way */
byte wait[NODES];	      /* with ABSENT: what is left of it */
byte promised[NODES];	      /* what is left of its promise to another */
bool fresh[NODES];	      /* it has registered since its start */
byte owns[NODES];	      /* what is left of the gateway's deadline; 0: it does not serve */

/* The question of a node to the others, as long as a deadline may come of it. */
byte question[NODES];	   /* what is left of that; 0: there is none */
byte question_list[NODES]; /* of takers */
byte promises[NODES];	   /* bits: who has promised */

byte faults_left = FAULTS;

inline own(node, ticks)
{
	if
	:: ticks > owns[node] ->
		owns[node] = ticks;
		i = 0;
		do
		:: i < NODES ->
			assert(i == node || owns[i] == 0);
			i++
		:: else -> break
		od
	:: else
	fi;
	i = 0
}

inline clear(one)
{
	one.kind = NOTHING;
	one.current = false;
	one.list = 0;
	one.applied = false;
	one.found = NOTHING;
	one.same = false;
	one.left = 0
}

/* --- etcd carries a request out ----------------------------------------------------------------------------------- */

#ifdef TAKERS_NOT_COMPARED
#define take_fits(one) (key == ABSENT && one.current)
#else
#define take_fits(one) (key == ABSENT && one.current && one.list == takers)
#endif

inline carry_out(one, node)
{
	if
	:: one.kind == LOOK ->
		one.found = (key == HELD && holder == node -> OWN : key);
		one.same = current[node];
		one.current = (one.found != HELD);
		one.list = takers
	:: one.kind == TAKE && take_fits(one) ->
		key = HELD;
		holder = node;
		i = 0;
		do
		:: i < NODES ->
			current[i] = false;
			request[i].current = false;
			late[i].current = false;
			if
			:: late[i].kind == TAKE -> clear(late[i]) /* it can do nothing any more */
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	:: one.kind == REPLACE && takers == 0 -> takers = 1
	:: else
	fi;
	if
	:: one.kind != NOTHING -> one.applied = true /* a late one may have been cleared */
	:: else
	fi
}

/* --- the agent ---------------------------------------------------------------------------------------------------- */

#define idle(node) (fresh[node] && request[node].kind == NOTHING)
#define takes(node) ((TAKES & bit_of(node)) != 0)
#define looks(node) ((LOOKS & bit_of(node)) != 0)
#define claims(node) (known[node] == OWN || kept[node])

inline send(node, what)
{
	request[node].kind = what;
	request[node].current = (what == TAKE && current[node]);
	request[node].list = (what == LOOK -> 0 : list[node]);
	request[node].left = (what == LOOK -> TERM : 0)
}

#ifdef NO_WAIT_FOR_TAKERS
#define waits_anew(node) (known[node] != ABSENT || !request[node].same)
#elif defined(NO_WAIT_AT_START)
#define waits_anew(node) (known[node] != NOTHING && (known[node] != ABSENT || !request[node].same || list[node] != request[node].list))
#else
#define waits_anew(node) (known[node] != ABSENT || !request[node].same || list[node] != request[node].list)
#endif
#define is_kept(node) (claims(node) && owns[node] != 0 && request[node].same)

inline learn(node)
{
	kept[node] = (request[node].found == ABSENT && is_kept(node));
	if
	:: request[node].found == OWN ->
		own(node, request[node].left);
		wait[node] = 0
	:: request[node].found == ABSENT && waits_anew(node) -> wait[node] = (takes(node) -> WAIT : 0)
	:: request[node].found == ABSENT && !waits_anew(node)
	:: request[node].found == HELD -> wait[node] = 0
	fi;
	replaces[node] = (replaces[node] && request[node].list == 0);
	list[node] = request[node].list;
	known[node] = (request[node].found == HELD -> NOTHING : request[node].found);
	current[node] = (known[node] != NOTHING && request[node].current)
}

inline forget_question(node)
{
	question[node] = 0;
	question_list[node] = 0;
	promises[node] = 0
}

/* What a transaction's answer says is not used: a look follows. */
inline take_in(node)
{
	if
	:: request[node].kind == LOOK -> learn(node)
	:: request[node].kind == TAKE && !kept[node] ->
		known[node] = NOTHING;
		current[node] = false;
		wait[node] = 0
	:: else
	fi;
	clear(request[node])
}

inline give_up(node)
{
	if
	:: (request[node].kind == TAKE && request[node].current || request[node].kind == REPLACE) && !request[node].applied &&
	   late[node].kind == NOTHING ->
		late[node].kind = request[node].kind;
		late[node].current = request[node].current;
		late[node].list = request[node].list
	:: else
	fi;
	clear(request[node])
}

inline start_anew(node)
{
	give_up(node);
	known[node] = NOTHING;
	current[node] = false;
	kept[node] = false;
	list[node] = UNSEEN;
	replaces[node] = false;
	wait[node] = 0;
	promised[node] = 0;
	forget_question(node);
	fresh[node] = false
}

/* --- promises ----------------------------------------------------------------------------------------------------- */

#ifdef ANY_REPLACES
#define may_replace(node) (list[node] == 0 && TAKERS_1 != TAKERS_0 && (REPLACES & bit_of(node)) != 0)
#else
#define may_replace(node) (list[node] == 0 && TAKERS_1 != TAKERS_0 && is_taker(node, 0) && (REPLACES & bit_of(node)) != 0)
#endif
#ifdef REPLACES_AND_PROMISES
#define replaces_none(node) true
#else
#define replaces_none(node) (!replaces[node])
#endif
#ifdef PROMISES_WHILE_TAKING
#define takes_none(node) true
#elif defined(PROMISES_WITHOUT_ANSWER)
#define takes_none(node) (request[node].kind != TAKE)
#else
#define takes_none(node) (request[node].kind != TAKE && (late[node].kind != TAKE || !late[node].current))
#endif
#ifdef UNDER_OTHER_TAKERS
#define same_takers(node, asker) (list[node] != UNSEEN)
#else
#define same_takers(node, asker) (list[node] == question_list[asker])
#endif
#define may_promise(node, asker) \
	(question[asker] != 0 && node != asker && is_taker(node, question_list[asker]) && fresh[node] && \
	 same_takers(node, asker) && replaces_none(node) && takes_none(node) && \
	 (promises[asker] & bit_of(node)) == 0)
#ifdef SOME_SUFFICE
#define all_promised(node) (promises[node] != 0)
#else
#define all_promised(node) (promises[node] == others_of(node, question_list[node]))
#endif
#ifdef AFTER_THE_DEADLINE
#define in_time(node) true
#else
#define in_time(node) (owns[node] != 0)
#endif
#define extends_under(node) (list[node] == question_list[node])
#ifdef NOT_KEPT
#define keep_promise(node) skip
#else
#define keep_promise(node) promised[node] = (takes(node) -> WAIT : 0)
#endif
#ifdef FROM_THE_ANSWER
#define extension(node) TERM
#else
#define extension(node) question[node]
#endif

inline promise(node, asker)
{
	keep_promise(node);
	promises[asker] = promises[asker] | bit_of(node)
}

#define may_take(node) \
	(known[node] == ABSENT && takes(node) && is_taker(node, list[node]) && late[node].kind == NOTHING && \
	 (kept[node] || wait[node] == 0 && promised[node] == 0))

proctype agent(byte node)
{
	byte i;

	do
	:: d_step { idle(node) && looks(node) -> send(node, LOOK) }
	:: d_step { idle(node) && may_take(node) -> send(node, TAKE) }
	:: d_step { idle(node) && looks(node) && may_replace(node) && late[node].kind == NOTHING ->
		send(node, REPLACE);
		replaces[node] = true }
	/* One that does not look at the block learns only of takers, which change once: that an answer takes time is that it looks later. */
	:: d_step { !looks(node) && fresh[node] && list[node] != takers ->
		list[node] = takers;
		replaces[node] = (replaces[node] && takers == 0) }
	:: d_step { !looks(node) && fresh[node] && may_replace(node) && !replacing[node] ->
		replaces[node] = true;
		replacing[node] = true }
	:: d_step { replacing[node] ->
		replacing[node] = false;
		takers = 1 }
	:: d_step { request[node].applied -> take_in(node) }
	:: d_step { fresh[node] && claims(node) && owns[node] != 0 && is_taker(node, list[node]) && replaces_none(node) &&
		    (ASKS & bit_of(node)) != 0 && question[node] != TERM ->
		question[node] = TERM;
		question_list[node] = list[node];
		promises[node] = 0 }
	:: d_step { may_promise(node, 0) -> promise(node, 0) }
	:: d_step { may_promise(node, 1) -> promise(node, 1) }
#if NODES > 2
	:: d_step { may_promise(node, 2) -> promise(node, 2) }
#endif
	:: d_step { question[node] != 0 && all_promised(node) && claims(node) && in_time(node) && extends_under(node) &&
		    replaces_none(node) ->
		own(node, extension(node));
		forget_question(node) }
	/* What goes wrong. */
	:: d_step { request[node].kind != NOTHING -> give_up(node) }
	:: d_step { faults_left > 0 && fresh[node] ->
		faults_left--;
		start_anew(node) }
	/* It registers. */
	:: d_step { !fresh[node] ->
#ifndef NOT_REGISTERED_ANEW
		clear(late[node]);
		replacing[node] = false;
#endif
		fresh[node] = true }
	/* etcd */
	:: d_step { request[node].kind != NOTHING && !request[node].applied -> carry_out(request[node], node) }
	:: d_step { late[node].kind != NOTHING ->
		carry_out(late[node], node);
		clear(late[node]) }
	od
}

#define down(count) count = (count != 0 -> count - 1 : 0)

proctype world()
{
	byte i;

	do
	:: d_step { key == HELD ->
		key = ABSENT;
		holder = 0 }
	:: d_step {
		true ->
		i = 0;
		do
		:: i < NODES ->
			down(owns[i]);
			down(wait[i]);
			down(promised[i]);
			down(request[i].left);
			down(question[i]);
			if
			:: question[i] == 0 -> forget_question(i)
			:: else
			fi;
			if
			:: owns[i] == 0 -> kept[i] = false
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0 }
	od
}

init {
	byte i;

	atomic {
		i = 0;
		do
		:: i < NODES ->
			fresh[i] = true;
			list[i] = 0;
			run agent(i);
			i++
		:: else -> break
		od;
		i = 0;
		known[0] = OWN;
		current[0] = true;
		owns[0] = TERM;
		run world()
	}
}
