// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/search.h"

#define RESOLUTION 1.03 /* good and bad are so near that noise decides */
#define LEAST	   1.0	/* packets per second */
#define MOST	   1e11

void search_init(struct search *search, double first, double loss)
{
	*search = (struct search){.loss = loss, .rate = first};
}

static void next(struct search *search)
{
	search->again = false;
	if (search->bad == 0)
		search->rate *= 2;
	else if (search->good == 0)
		search->rate /= 2;
	else
		search->rate = (search->good + search->bad) / 2;
	search->done = search->rate < LEAST || search->rate > MOST ||
		       (search->good != 0 && search->bad != 0 && search->bad / search->good < RESOLUTION);
}

void search_step(struct search *search, bool reached, double lost)
{
	if (reached && lost <= search->loss) {
		search->good = search->rate;
		next(search);
	} else if (!search->again) {
		search->again = true;
	} else {
		/* Loss at a rate that was not even reached is the other side's all the same. */
		search->limited = lost <= search->loss;
		search->bad = search->rate;
		next(search);
	}
}
