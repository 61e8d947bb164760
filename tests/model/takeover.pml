/* SPDX-License-Identifier: Apache-2.0
 *
 * The take-over of a gateway's sessions by a new process, from the export on: which process owns them, that is, seals and
 * opens under their keys. A state of this model is small enough for spin to visit all of them; tests/model/run does.
 *
 *   old                               word              new
 *   stops handshakes, exports    ------------------->   builds registry and threads; ready
 *   serves on without them
 *   freezes, sends what moved,   OLD -> OFFERED ---->   compare-and-swap OFFERED -> NEW: serves
 *   after a time: compare-and-swap OFFERED -> OLD: serves again. Failed: tells the manager MAINPID, and exits
 *
 * Each process may crash or stop for ever between any two steps, and be slow everywhere; the kernel or the service manager
 * does what those do after it. A time-out may come at any moment, so that nothing rests on its length. An old process makes
 * two attempts, with a process each. Proven are
 *
 *   at most one       an assertion where a process begins to serve: no other one does
 *   nothing stale     an assertion there: all that moved since the export has arrived, and no handshake was made then
 *   handshakes go on  an assertion where the original process serves on for good
 *   never none        from some moment on there is a process that serves, and runs
 *
 * A macro takes one precaution away, and spin has to find what then goes wrong (tests/model/run has the list). */

#ifndef FAULTS
#define FAULTS 3
#endif
#define ATTEMPTS 2

/* Processes. */
#define ORIGINAL 0
#define SUCCESSOR(attempt) (1 + (attempt))
#define FRESH 3 /* that the manager starts after the death of its main process */
#define PROCESSES 4
#define NONE 255

mtype = { OLD, OFFERED, NEW };

bool alive[PROCESSES], stuck[PROCESSES], serves[PROCESSES];
byte main_process = ORIGINAL;
byte mainpid = NONE; /* a notification that the manager has not read yet */
bool orderly;	     /* the original process exited, with a status that says success */

/* Of each attempt: a word of its own, and what the two sides sent. What was sent can be read after the sender's death. */
mtype word[ATTEMPTS];
bool begun[ATTEMPTS], exported[ATTEMPTS], ready[ATTEMPTS], offered[ATTEMPTS], closed[ATTEMPTS];
bool current[ATTEMPTS]; /* the new process has all that moved */
bool unknown[ATTEMPTS]; /* since the export a handshake made a session, or gave one new keys: what follows has none of that */
bool rests;		/* handshakes of the old process */

#define runs(process) (alive[process] && !stuck[process])
#define healthy(process) (serves[process] && runs(process))
#define some_process_serves (healthy(0) || healthy(1) || healthy(2) || healthy(3))

inline serve(process)
{
	assert(!serves[0] && !serves[1] && !serves[2] && !serves[3]);
	serves[process] = true;
}

inline end(process)
{
	alive[process] = false;
	serves[process] = false;
}

#ifdef SAME_WORD
#define word_of(attempt) word[0]
#else
#define word_of(attempt) word[attempt]
#endif

/* Each step is atomic only as far as a system call or an instruction is. */
proctype original()
{
	byte attempt = 0;

	do
	:: attempt < ATTEMPTS ->
		atomic { runs(ORIGINAL) -> word_of(attempt) = OLD; begun[attempt] = true }
		/* 3: handshake threads stop, and packets go on. */
#ifndef HANDSHAKES_GO_ON
		atomic { runs(ORIGINAL) -> rests = true }
#endif
		atomic { runs(ORIGINAL) -> exported[attempt] = true }
		/* 4 */
		do
		:: atomic { runs(ORIGINAL) && ready[attempt] -> break }
		:: atomic { runs(ORIGINAL) && !ready[attempt] -> closed[attempt] = true; goto failed } /* too late, or it is gone */
		:: atomic { runs(ORIGINAL) && !rests && !unknown[attempt] -> unknown[attempt] = true }
		od;
		/* 5 */
#ifdef OFFERED_TOO_EARLY
		atomic { runs(ORIGINAL) -> word_of(attempt) = OFFERED; offered[attempt] = true }
#endif
		atomic { runs(ORIGINAL) -> serves[ORIGINAL] = false }
#ifndef NOTHING_FOLLOWS
		atomic { runs(ORIGINAL) -> current[attempt] = true }
#endif
#ifndef OFFERED_TOO_EARLY
		atomic { runs(ORIGINAL) -> word_of(attempt) = OFFERED }
		atomic { runs(ORIGINAL) -> offered[attempt] = true }
#endif
		/* 6 */
		do
		:: atomic { runs(ORIGINAL) && word_of(attempt) == NEW -> goto hand_over }
#ifndef NO_TIME_LIMIT
		:: runs(ORIGINAL) && word_of(attempt) != NEW -> break
#endif
		od;
#ifdef OLD_STORES
		atomic { runs(ORIGINAL) -> word_of(attempt) = OLD }
#else
		if
		:: atomic { runs(ORIGINAL) && word_of(attempt) == OFFERED -> word_of(attempt) = OLD }
		:: atomic { runs(ORIGINAL) && word_of(attempt) == NEW -> goto hand_over }
		fi;
#endif
		atomic { runs(ORIGINAL) -> current[attempt] = false; serve(ORIGINAL) }
		atomic { runs(ORIGINAL) -> closed[attempt] = true }
failed:
#ifndef HANDSHAKES_REST_ON
		atomic { runs(ORIGINAL) -> rests = false }
#endif
		attempt++
	:: else -> assert(!rests); goto done
	od;

hand_over:
	/* 7: it waits until the manager has read this, for a time. Its exit status says failure, which the manager reads
	 * only if it did not take the new process as the main one. */
	atomic { runs(ORIGINAL) -> mainpid = SUCCESSOR(attempt) }
	if
	:: runs(ORIGINAL) && mainpid == NONE
	:: runs(ORIGINAL)
	fi;
	atomic {
		runs(ORIGINAL) -> end(ORIGINAL)
#ifdef ORDERLY_EXIT
		orderly = true
#endif
	}
done:	skip
}

proctype successor(byte attempt)
{
#define SELF SUCCESSOR(attempt)
	/* The old process is gone, or has given up this attempt. */
#define left_alone (!alive[ORIGINAL] || closed[attempt])

	atomic { runs(SELF) && begun[attempt] }
	do
	:: atomic { runs(SELF) && exported[attempt] -> break }
	:: atomic { runs(SELF) && !exported[attempt] && left_alone -> end(SELF); goto done }
	od;
	atomic { runs(SELF) -> ready[attempt] = true }
	do
	:: atomic { runs(SELF) && offered[attempt] -> break }
#ifdef STALE_RECORDS_SERVE
	:: atomic { runs(SELF) && !offered[attempt] && !alive[ORIGINAL] -> break }
	:: atomic { runs(SELF) && !offered[attempt] && alive[ORIGINAL] && closed[attempt] -> end(SELF); goto done }
#else
	:: atomic { runs(SELF) && !offered[attempt] && left_alone -> end(SELF); goto done }
#endif
	od;
#if defined(NEW_STORES) || defined(STALE_RECORDS_SERVE)
	if
	:: runs(SELF) && word_of(attempt) != OLD
	:: atomic { runs(SELF) && word_of(attempt) == OLD -> end(SELF); goto done }
#ifdef STALE_RECORDS_SERVE
	:: runs(SELF) && !alive[ORIGINAL]
#endif
	fi;
	atomic { runs(SELF) -> word_of(attempt) = NEW }
#else
	if
	:: atomic { runs(SELF) && word_of(attempt) == OFFERED -> word_of(attempt) = NEW }
	:: atomic { runs(SELF) && word_of(attempt) != OFFERED -> end(SELF); goto done }
	fi;
#endif
	atomic { runs(SELF) -> serve(SELF); assert(current[attempt] && !unknown[attempt]) }
done:	skip
}

/* It starts the service anew when its main process is dead, after it has ended all others of the service's control group.
 * A main process that no longer says that it lives is killed. */
proctype manager()
{
	do
	:: atomic { mainpid != NONE ->
		/* One that is dead is not taken. */
		if
		:: alive[mainpid] && alive[main_process] -> main_process = mainpid
		:: else -> skip
		fi;
		mainpid = NONE }
	:: atomic { alive[main_process] && stuck[main_process] -> end(main_process) }
	:: !alive[main_process] && !(orderly && main_process == ORIGINAL) ->
		end(ORIGINAL);
#ifndef OUTSIDE_OF_THE_GROUP
		end(SUCCESSOR(0));
		end(SUCCESSOR(1));
#endif
		atomic {
			main_process = FRESH;
			alive[FRESH] = true;
			stuck[FRESH] = false;
			serve(FRESH)
		}
	od
}

/* A crash, or a stop from which the process never comes back. */
proctype faults()
{
	byte left = FAULTS, process;

	do
	:: atomic {
		left > 0 ->
		left--;
		if
		:: process = ORIGINAL
		:: process = SUCCESSOR(0)
		:: process = SUCCESSOR(1)
		:: process = FRESH
		fi;
		if
		:: alive[process] -> end(process)
		:: alive[process] -> stuck[process] = true
		:: else
		fi }
	:: break
	od
}

init {
	atomic {
		word[0] = OLD;
		word[1] = OLD;
		alive[ORIGINAL] = true;
		alive[SUCCESSOR(0)] = true;
		alive[SUCCESSOR(1)] = true;
		serve(ORIGINAL);
		run original();
		run successor(0);
		run successor(1);
		run manager();
		run faults()
	}
}

ltl never_none { <>[] some_process_serves }

/* Not a promise: what must be possible, or the above says little. */
ltl never_handed_over { [] !(serves[1] && main_process == 1 && !alive[0]) }
ltl never_at_the_second_attempt { [] !(serves[2] && main_process == 2 && !alive[0]) }
ltl never_served_again { [] !(serves[0] && closed[0] && offered[0]) }
