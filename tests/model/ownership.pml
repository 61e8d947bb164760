/* SPDX-License-Identifier: Apache-2.0
 *
 * Which gateway owns a block of sessions, where etcd says so but neither its leases nor its speed can be relied on. A state
 * of this model is small enough for spin to visit all of them; tests/model/run does.
 *
 *   key      the block's in etcd: absent, held by a node (with the node's lease), or "clean" (without a lease)
 *   taken    a second key without a lease, that each take writes: its revision says whether anybody took the block since
 *
 *   look     a linearizable read of both. It shows the node's own key: the node owns the block for TERM ticks, from the
 *            sending on. It shows no key: the node waits WAIT ticks, from the answer on, anew when `taken` has changed
 *   take     a transaction, if the key is as it was seen (absent and waited for, or clean) and `taken` has the revision seen
 *            together with it. The node owns the block for TERM ticks, from the sending on
 *   release  the node stops, and then writes "clean", if the key is still that of the take that it looked at. Whatever else
 *            is shown, it does not own the block before a later look shows that the key is no longer its own
 *
 * etcd applies transactions and reads one by one, but a request may be under way for any time, before that and after it. The
 * node may give up on one that is carried out later. The key of a node may go at any time, since a stale leader revokes leases
 * that live (etcd-io/etcd#15247); that it acknowledges keepalives besides means nothing to a node. An agent may start anew,
 * with another uuid, while its gateway serves until the deadline that it has; a machine may die. All may pause anywhere: it is
 * the clock that goes on. TERM and WAIT are what passes in truth while an owner's clock, however slow, shows the one, and a
 * taker's clock, however fast, the other.
 *
 * Proven are
 *
 *   at most one       an assertion where a node begins to own or owns for longer: no other one does
 *   never none        when failures have ended, there is an owner from some moment on
 *
 * A macro takes one precaution away, and spin has to find what then goes wrong (tests/model/run has the list). */

#ifndef NODES
#define NODES 2
#endif
#ifndef FAULTS
#define FAULTS 1 /* restarts of agents, deaths of machines; all else may go wrong any number of times */
#endif
#define TERM 2 /* by a clock that is as slow as any */
#ifdef SHORT_WAIT
#define WAIT (TERM - 1)
#else
#define WAIT TERM /* by one that is as fast as any: it reads more */
#endif

mtype = { NOTHING, ABSENT, CLEAN, HELD, OWN, LOOK, TAKE, RELEASE };

/* etcd. The revision of `taken` is not needed as a number: of each that somebody has seen, whether it is the present one. */
mtype key = HELD;
byte holder = 0;
bool orphan;	   /* the holder's agent has another uuid by now */
#ifdef STALE_READS
mtype earlier = HELD; /* the key and its holder before the last change */
byte earlier_holder = 0;
#endif

/* A request to etcd. */
typedef exchange {
	mtype kind = NOTHING; /* NOTHING: none is under way */
	mtype expects;	      /* TAKE: ABSENT or CLEAN */
	bool current;	      /* nobody took the block since the revision that it compares with, or has found */
	bool earlier_uuid;    /* it was sent before the agent's last start */
	bool applied;	      /* the answer is under way */
	mtype found;	      /* ABSENT, CLEAN, HELD (by another), OWN; a write that was refused: HELD */
	bool same;	      /* LOOK: nobody took it since what the node knew before */
	bool no_use;	      /* sent before a release began */
	byte left;	      /* of the deadline that the answer may give */
};
exchange request[NODES], late[NODES]; /* what a node waits for, and a write that it has given up on */

/* A node: agent and gateway. */
bool alive[NODES];
mtype known[NODES] = NOTHING; /* what the agent saw last */
bool current[NODES];	      /* nobody took the block since that */
byte wait[NODES];	      /* with ABSENT: what is left of it */
bool released[NODES];
byte owns[NODES]; /* what is left of the gateway's deadline; 0: it does not serve */

/* Failures have ended. Then each agent has a request answered in each tick. */
bool calm;
bool asked[NODES];
#ifdef RELEASED_ONCE
bool told[NODES];
#endif

#define some_node_owns (owns[0] != 0 || owns[1] != 0 || owns[NODES - 1] != 0)
#define own_key(node) (key == HELD && holder == node && !orphan)
#define abandoned_key (key == HELD && (orphan || !alive[holder]))

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

inline change_key(state, node)
{
#ifdef STALE_READS
	earlier = key;
	earlier_holder = holder;
#endif
	key = state;
	holder = node;
	orphan = false
}

/* --- etcd carries a request out ----------------------------------------------------------------------------------- */

#ifdef NO_REVISION
#define take_fits(one) (key == one.expects && (one.current || one.expects == ABSENT))
#else
#define take_fits(one) (key == one.expects && one.current)
#endif
#ifdef CLEAN_BY_VALUE
#define release_fits(one, node) (key == HELD && holder == node && orphan == one.earlier_uuid)
#else
#define release_fits(one, node) (key == HELD && holder == node && one.current)
#endif

inline clear(one)
{
	one.kind = NOTHING;
	one.expects = NOTHING;
	one.current = false;
	one.earlier_uuid = false;
	one.applied = false;
	one.found = NOTHING;
	one.same = false;
	one.no_use = false;
	one.left = 0
}

inline carry_out(one, node)
{
	if
	:: one.kind == LOOK ->
		one.found = (own_key(node) -> OWN : key);
		one.same = (key == ABSENT && current[node]);
		one.current = (one.found != HELD)
	:: one.kind == TAKE && take_fits(one) ->
		change_key(HELD, node);
		orphan = one.earlier_uuid;
		i = 0;
		do
		:: i < NODES ->
			current[i] = false;
			request[i].current = false;
			late[i].current = false;
#if !defined(NO_REVISION) && !defined(CLEAN_BY_VALUE)
			/* It can do nothing any more. */
			clear(late[i]);
#endif
			i++
		:: else -> break
		od;
		i = 0;
		one.current = true;
		one.found = OWN
	:: one.kind == TAKE && !take_fits(one) ->
		one.found = HELD;
		one.current = false;
		one.left = 0
	:: one.kind == RELEASE && release_fits(one, node) ->
		change_key(CLEAN, 0);
		one.found = CLEAN;
		one.current = false
	:: one.kind == RELEASE && !release_fits(one, node) ->
		one.found = CLEAN;
		one.current = false
	fi;
	one.applied = true
}

/* --- the agent ---------------------------------------------------------------------------------------------------- */

inline send(node, what)
{
	request[node].kind = what;
	request[node].current = (what != LOOK && current[node]);
	request[node].left = (what == RELEASE -> 0 : TERM);
	asked[node] = calm
}

#ifdef WAITS_FROM_SENDING
/* At most so much passed since. */
#define begin_to_wait(node) wait[node] = WAIT - (TERM - request[node].left)
#else
#define begin_to_wait(node) wait[node] = WAIT
#endif

inline learn(node)
{
	if
	:: request[node].found == OWN && !released[node] ->
#ifdef DEADLINE_FROM_ANSWER
		own(node, TERM);
#else
		own(node, request[node].left);
#endif
		wait[node] = 0
	:: request[node].found == OWN && released[node] -> wait[node] = 0
	:: request[node].found == ABSENT ->
#if defined(WAITS_ONCE)
		if
		:: known[node] != ABSENT -> begin_to_wait(node)
		:: else
		fi;
#elif defined(NO_WAIT_AT_START) || defined(WAITS_FROM_START)
		if
		:: known[node] == ABSENT && !request[node].same || known[node] == OWN || known[node] == CLEAN -> begin_to_wait(node)
		:: else
		fi;
#else
		if
		:: known[node] != ABSENT || !request[node].same -> begin_to_wait(node)
		:: else
		fi;
#endif
		released[node] = false
	:: request[node].found == CLEAN || request[node].found == HELD ->
		wait[node] = 0;
		released[node] = false
	fi;
	known[node] = (request[node].found == HELD -> NOTHING : request[node].found);
	current[node] = (known[node] != NOTHING && request[node].current)
}

inline take_in(node)
{
	if
#ifdef OLD_ANSWERS_COUNT
	:: request[node].kind == LOOK && request[node].no_use && request[node].found == OWN -> own(node, request[node].left)
	:: request[node].kind == LOOK && request[node].no_use && request[node].found != OWN
#else
	:: request[node].no_use
#endif
	:: !request[node].no_use && request[node].kind == LOOK -> learn(node)
	:: !request[node].no_use && request[node].kind == TAKE ->
		if
		:: request[node].found == OWN -> learn(node)
		:: request[node].found != OWN ->
			known[node] = NOTHING;
			current[node] = false;
			wait[node] = 0
		fi
	:: !request[node].no_use && request[node].kind == RELEASE ->
		/* Written, or it was not its own any more. */
#ifdef CLEAN_TOO_EARLY
		owns[node] = 0;
#endif
		known[node] = NOTHING;
		current[node] = false;
		wait[node] = 0;
		released[node] = false
	fi;
	clear(request[node])
}

/* A read is forgotten, and so is a write that was carried out; another one may be carried out later, or is lost. */
inline give_up(node)
{
	if
	:: (request[node].kind == TAKE || request[node].kind == RELEASE) && !request[node].applied && late[node].kind == NOTHING ->
		late[node].kind = request[node].kind;
		late[node].expects = request[node].expects;
		late[node].current = request[node].current
	:: else
	fi;
#ifdef OWNS_AGAIN
	if
	:: request[node].kind == RELEASE -> released[node] = false
	:: else
	fi;
#endif
	clear(request[node])
}

inline start_anew(node)
{
	give_up(node);
	late[node].earlier_uuid = (late[node].kind != NOTHING);
	known[node] = NOTHING;
	current[node] = false;
	wait[node] = 0;
#ifdef WAITS_FROM_START
	wait[node] = WAIT;
#endif
	released[node] = false;
	orphan = orphan || (key == HELD && holder == node)
}

#define idle(node) (alive[node] && request[node].kind == NOTHING && (!calm || !asked[node]))
#define may_take(node) (!released[node] && (known[node] == ABSENT && wait[node] == 0 || known[node] == CLEAN))
#ifdef RELEASED_ONCE
#define has_to_tell(node) (released[node] && !told[node])
#else
#define has_to_tell(node) released[node]
#endif

proctype agent(byte node)
{
	byte i;

	do
	:: d_step { idle(node) && !(calm && (may_take(node) || has_to_tell(node))) -> send(node, LOOK) }
	:: d_step { idle(node) && may_take(node) ->
		send(node, TAKE);
		request[node].expects = known[node] }
	:: d_step { !calm && alive[node] && known[node] == OWN && !released[node] ->
		released[node] = true;
		request[node].no_use = (request[node].kind != NOTHING);
#ifndef CLEAN_TOO_EARLY
		owns[node] = 0
#endif
		}
	:: d_step { idle(node) && has_to_tell(node) ->
		send(node, RELEASE);
#ifdef RELEASED_ONCE
		told[node] = true
#endif
		}
	:: d_step { alive[node] && request[node].applied -> take_in(node) }
#ifdef KEEPALIVES_COUNT
	:: d_step { !calm && alive[node] && known[node] == OWN && !released[node] -> own(node, TERM) }
#endif
	od
}

/* --- all else ----------------------------------------------------------------------------------------------------- */

proctype etcd(byte node) /* the requests of one node */
{
	byte i;

	do
	:: d_step { request[node].kind != NOTHING && !request[node].applied -> carry_out(request[node], node) }
	:: d_step { late[node].kind != NOTHING ->
		carry_out(late[node], node);
		clear(late[node]) }
	:: d_step { late[node].kind != NOTHING -> clear(late[node]) }
#ifdef STALE_READS
	:: d_step { request[node].kind == LOOK && !request[node].applied ->
		request[node].found = (earlier == HELD && earlier_holder == node -> OWN : earlier);
		request[node].applied = true }
#endif
	od
}

proctype leases()
{
	do
	:: d_step { key == HELD && (!calm || abandoned_key) -> change_key(ABSENT, 0) }
	od
}

#define down(count) count = (count != 0 -> count - 1 : 0)
#define settled(node) (!alive[node] || asked[node] && request[node].kind == NOTHING)

proctype clock()
{
	byte i;

	do
	:: d_step {
		!calm || (settled(0) && settled(1) && settled(NODES - 1) && late[0].kind == NOTHING && late[1].kind == NOTHING &&
			  late[NODES - 1].kind == NOTHING && !abandoned_key) ->
		i = 0;
		do
		:: i < NODES ->
			down(owns[i]);
			down(wait[i]);
			down(request[i].left);
			asked[i] = false;
			i++
		:: else -> break
		od;
		i = 0 }
	od
}

byte faults_left = FAULTS;

proctype failures(byte node)
{
	do
	:: d_step { !calm && alive[node] && request[node].kind != NOTHING -> give_up(node) }
	:: d_step { !calm && alive[node] && faults_left > 0 ->
		faults_left--;
		start_anew(node) }
	:: d_step { !calm && alive[node] && faults_left > 0 && node != NODES - 1 ->
		faults_left--;
		start_anew(node);
		owns[node] = 0;
		alive[node] = false }
	:: !calm -> calm = true
	od
}

init {
	byte i;

	atomic {
		i = 0;
		do
		:: i < NODES ->
			alive[i] = true;
			run agent(i);
			run etcd(i);
			run failures(i);
			i++
		:: else -> break
		od;
		i = 0;
		known[0] = OWN;
		current[0] = true;
		owns[0] = TERM;
#ifdef WAITS_FROM_START
		wait[1] = WAIT;
#endif
		run leases();
		run clock()
	}
}

ltl never_none { [](calm -> <>[] some_node_owns) }

/* Not a promise: what must be possible, or the above says little. */
ltl never_moved { [] !(owns[1] != 0 && alive[0] && known[0] == CLEAN) }
ltl never_taken { [] !(owns[1] != 0 && !alive[0]) }
