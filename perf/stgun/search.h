// SPDX-License-Identifier: Apache-2.0
/* The search for the highest rate at which at most a given share of the packets is lost: doubling until a step fails,
 * then halving the gap. A step that failed is tried once more; both count before it is believed. Pure. */
#pragma once

#include <stdbool.h>

struct search {
	double loss;  /* that is borne: 0.01 is 1 % */
	double rate;  /* to try next */
	double good;  /* highest rate that passed; 0: none yet */
	double bad;   /* lowest rate that failed; 0: none yet */
	bool again;   /* `rate` failed once */
	bool limited; /* what is above `good` the generator itself did not reach */
	bool done;
};

/* `first`: the rate to begin with. */
void search_init(struct search *search, double first, double loss);

/* Takes what became of search->rate: `reached`, whether the generator sent that much, and the share that was lost.
 * Then either `done`, or search->rate is the next to try. */
void search_step(struct search *search, bool reached, double lost);
