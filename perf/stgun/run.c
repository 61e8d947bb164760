// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/run.h"

#include <sodium.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "perf/stgun/result.h"
#include "perf/stgun/search.h"
#include "perf/stgun/stgun.h"

#define START_NS    (5 * NS_PER_MS)   /* threads take up an order within 1 ms */
#define QUIET_NS    (500 * NS_PER_MS) /* without anything late coming in: the rest is lost */
#define DRAIN_NS    (5 * NS_PER_S)
#define ANSWER_NS   (5 * NS_PER_S)    /* for the first answer of the reflector */
#define QUESTION_NS (100 * NS_PER_MS) /* before it is asked again */
#define LEAVE_NS    (10 * NS_PER_S)   /* longer than the BYEs should take */
#define LEAVE_RATE  20000.0	      /* BYEs a second: they are not answered, and a gateway's queue holds 10,000 */

struct run {
	struct stgun stgun;
	pthread_t *threads;
	unsigned running;
	const volatile sig_atomic_t *stop;
	json_t *result, *samples;
	bool terminal;
	uint64_t began, sampled, asked;
	uint64_t last_sent, last_received;
	uint64_t told_before; /* overflows */
};

static uint64_t now_ns(void)
{
	return clock_monotonic(&clock_system);
}

static void nap(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static uint64_t total(const struct run *run, enum stgun_counter counter)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < run->stgun.options->threads; i++)
		sum += atomic_load_explicit(&run->stgun.threads[i]->counters[counter], memory_order_relaxed);
	return sum;
}

static uint64_t sent_packets(const struct run *run)
{
	uint64_t sealed = total(run, STGUN_COUNT_sealed), refused = total(run, STGUN_COUNT_refused);
	uint64_t sent = sealed > refused ? sealed - refused : 0;
	return run->stgun.options->direction == STGUN_DOWN ? sent * run->stgun.order.packets : sent;
}

static uint64_t received_packets(const struct run *run)
{
	if (run->stgun.options->direction == STGUN_UP)
		return atomic_load_explicit(&run->stgun.told_packets, memory_order_relaxed);
	return total(run, STGUN_COUNT_answers);
}

static void merge_latency(const struct run *run, struct histogram_sum *sum)
{
	memset(sum, 0, sizeof *sum);
	for (unsigned i = 0; i < run->stgun.options->threads; i++)
		histogram_merge(sum, &run->stgun.threads[i]->latency);
}

/* --- orders ------------------------------------------------------------------------------------------------------- */

static bool all_reached(const struct run *run, bool done)
{
	uint64_t number = atomic_load_explicit(&run->stgun.order_number, memory_order_relaxed);
	for (unsigned i = 0; i < run->stgun.options->threads; i++) {
		const struct stgun_thread *thread = run->stgun.threads[i];
		if (atomic_load_explicit(done ? &thread->done : &thread->taken, memory_order_acquire) < number)
			return false;
	}
	return true;
}

static void give_order(struct run *run, const struct stgun_order *order)
{
	run->stgun.order = *order;
	atomic_fetch_add_explicit(&run->stgun.order_number, 1, memory_order_release);
	while (run->running == run->stgun.options->threads && !all_reached(run, false))
		nap();
	run->began = run->sampled = now_ns();
	run->last_sent = run->last_received = 0;
}

static void ask(struct run *run)
{
	if (now_ns() - run->asked < QUESTION_NS)
		return;
	run->asked = now_ns();
	atomic_fetch_add_explicit(&run->stgun.query, 1, memory_order_release);
}

static void sample(struct run *run)
{
	uint64_t now = now_ns();
	if (now - run->sampled < NS_PER_S)
		return;
	const struct stgun_options *options = run->stgun.options;
	double seconds = (double)(now - run->sampled) / 1e9, at = (double)(now - run->began) / 1e9;
	bool dial = run->stgun.order.phase != STGUN_FIRE;
	uint64_t sent = dial ? total(run, STGUN_COUNT_hellos) : sent_packets(run);
	uint64_t received = dial ? total(run, STGUN_COUNT_up) : received_packets(run);
	struct histogram_sum latency;
	merge_latency(run, &latency);
	uint64_t p99 = histogram_quantile(&latency, 0.99);
	(void)json_array_append_new(run->samples,
				    json_pack("{s:f, s:I, s:I, s:I}", "t", at, dial ? "hellos" : "sent",
					      (json_int_t)(sent - run->last_sent), dial ? "up" : "received",
					      (json_int_t)(received - run->last_received), "p99_ns", (json_int_t)p99));
	if (run->terminal && dial)
		fprintf(stderr, "\r\033[K%5.0f s  %lu of %u sessions %s, %.0f a second", at, received,
			options->sessions, run->stgun.order.phase == STGUN_HOLD ? "came back" : "up",
			(double)(received - run->last_received) / seconds);
	else if (run->terminal)
		fprintf(stderr, "\r\033[K%5.0f s  %.3f Mpps sent, %.3f received, p99 %.0f us", at,
			(double)(sent - run->last_sent) / seconds / 1e6,
			(double)(received - run->last_received) / seconds / 1e6, (double)p99 / 1e3);
	run->sampled = now;
	run->last_sent = sent;
	run->last_received = received;
}

static void end_line(const struct run *run)
{
	if (run->terminal)
		fprintf(stderr, "\r\033[K");
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static void prepare(struct run *run)
{
	if (run->terminal)
		fprintf(stderr, "\r\033[Kpreparing %u HELLOs", run->stgun.options->sessions);
	give_order(run, &(struct stgun_order){.phase = STGUN_PREPARE});
	while (!all_reached(run, true) && !*run->stop)
		nap();
}

static int explain_silence(const struct run *run, uint64_t up, struct error *error)
{
	if (total(run, STGUN_COUNT_welcomes) + total(run, STGUN_COUNT_cookies) == 0)
		return error_set(error, -ETIMEDOUT,
				 "the gateway does not answer: is it there, is that its key, and are its peers those "
				 "of stgun keys with this --seed and --psk-file?");
	return error_set(error, -ETIMEDOUT,
			 "only %lu of %u sessions came up, and no more for %u s: the gateway limits handshakes by "
			 "source address (--source), and its MaxSessions and pool bound them",
			 up, run->stgun.options->sessions, run->stgun.options->connect_timeout);
}

static int dial(struct run *run, struct error *error)
{
	const struct stgun_options *options = run->stgun.options;
	double rate = options->connect_rate.per_second;
	prepare(run);
	run->samples = json_array();
	give_order(run, &(struct stgun_order){.phase = STGUN_DIAL,
					      .end = UINT64_MAX,
					      .start = now_ns(),
					      .interval = rate > 0 ? 1e9 * options->threads / rate : 0,
					      .fresh_latency = true});
	uint64_t progress = now_ns(), up = 0;
	int result = 0;
	while (!all_reached(run, true) && !*run->stop) {
		nap();
		sample(run);
		uint64_t count = total(run, STGUN_COUNT_up);
		if (count != up)
			progress = now_ns();
		up = count;
		if (now_ns() - progress > options->connect_timeout * NS_PER_S) {
			result = explain_silence(run, up, error);
			break;
		}
	}
	end_line(run);
	struct stgun_round *round = calloc(1, sizeof *round);
	if (round == NULL)
		return error_set(error, -ENOMEM, "no memory for the report");
	round->seconds = (double)(now_ns() - run->began) / 1e9;
	round->up = total(run, STGUN_COUNT_up);
	round->hellos = total(run, STGUN_COUNT_hellos);
	round->cookies = total(run, STGUN_COUNT_cookies);
	round->welcomes = total(run, STGUN_COUNT_welcomes);
	round->unexpected = total(run, STGUN_COUNT_unexpected);
	round->samples = run->samples;
	merge_latency(run, &round->latency);
	result_round(run->result, round);
	result_print_round(stdout, options, round);
	(void)fflush(stdout);
	free(round);
	return result;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static uint32_t unit_packets(const struct stgun_options *options)
{
	uint32_t most = UDP_TRAIN_BYTES / stgun_sealed_size(options, options->mix.most);
	most = most < 1 ? 1 : most;
	return options->train < most ? options->train : most;
}

/* The reflector has to answer before anything is sent to it. */
static int meet(struct run *run, struct error *error)
{
	uint64_t now = now_ns();
	give_order(run, &(struct stgun_order){.phase = STGUN_FIRE, .start = now, .end = now, .packets = 1, .run = 0});
	uint32_t before = atomic_load_explicit(&run->stgun.told, memory_order_acquire);
	while (atomic_load_explicit(&run->stgun.told, memory_order_acquire) == before && !*run->stop) {
		ask(run);
		nap();
		if (now_ns() - now > ANSWER_NS)
			return error_set(
				error, -ETIMEDOUT,
				"nobody answers inside the tunnel: run 'stgun reflect' at the address of --to, or "
				"give --blind");
	}
	run->told_before = atomic_load_explicit(&run->stgun.told_overflows, memory_order_relaxed);
	return 0;
}

/* Until all is in, or nothing more comes. */
static void drain(struct run *run)
{
	uint64_t began = now_ns(), changed = began, last = 0, sent = sent_packets(run);
	uint32_t query = atomic_load_explicit(&run->stgun.query, memory_order_relaxed);
	bool up = run->stgun.options->direction == STGUN_UP;
	while (now_ns() - began < DRAIN_NS && now_ns() - changed < QUIET_NS) {
		ask(run);
		nap();
		uint64_t received = received_packets(run);
		if (received != last)
			changed = now_ns();
		last = received;
		/* What the reflector said before is not the last word. */
		bool asked = (int32_t)(atomic_load_explicit(&run->stgun.told, memory_order_acquire) - query) > 0;
		if (received >= sent && asked)
			return;
		if (!asked && up)
			changed = now_ns();
	}
}

/* From the start until the last packet, which may leave after the end. */
static double sending_time(const struct run *run, const struct stgun_order *order)
{
	uint64_t end = order->start;
	for (unsigned i = 0; i < run->stgun.options->threads; i++) {
		uint64_t last = atomic_load_explicit(&run->stgun.threads[i]->finished, memory_order_relaxed);
		end = last > end ? last : end;
	}
	return (double)(end - order->start) / 1e9;
}

static int fire(struct run *run, double rate, struct stgun_step *step)
{
	const struct stgun_options *options = run->stgun.options;
	struct stgun_order order = {
		.phase = STGUN_FIRE,
		.run = randombytes_random(),
		.start = now_ns() + START_NS,
		.packets = unit_packets(options),
		.fresh_latency = true,
	};
	order.end = order.start + options->duration;
	order.interval = rate > 0 ? 1e9 * options->threads * order.packets / rate : 0;
	run->samples = json_array();
	atomic_store_explicit(&run->stgun.told_packets, 0, memory_order_relaxed);
	atomic_store_explicit(&run->stgun.told_bytes, 0, memory_order_relaxed);
	give_order(run, &order);
	while (!all_reached(run, true) && !*run->stop) {
		nap();
		sample(run);
		if (options->direction == STGUN_UP && !options->blind)
			ask(run);
	}
	sample(run);
	struct stgun_order idle = order;
	idle.phase = STGUN_IDLE;
	give_order(run, &idle);
	if (!options->blind)
		drain(run);
	end_line(run);

	memset(step, 0, sizeof *step);
	step->rate = rate;
	step->windowed = rate == 0 && options->direction != STGUN_UP;
	step->seconds = sending_time(run, &order);
	step->sent = sent_packets(run);
	for (unsigned i = 0; i < options->threads; i++)
		step->offered += atomic_load_explicit(&run->stgun.threads[i]->offered, memory_order_relaxed);
	step->refused = total(run, STGUN_COUNT_refused);
	step->known = !options->blind;
	step->received = received_packets(run);
	step->lost = step->sent > step->received ? step->sent - step->received : 0;
	step->arrived = atomic_load_explicit(&run->stgun.told_packets, memory_order_relaxed);
	uint64_t overflows = atomic_load_explicit(&run->stgun.told_overflows, memory_order_relaxed);
	step->reflector_lost = overflows - run->told_before;
	run->told_before = overflows;
	step->sent_bytes = total(run, STGUN_COUNT_sent_bytes);
	step->received_bytes = options->direction == STGUN_UP
				       ? atomic_load_explicit(&run->stgun.told_bytes, memory_order_relaxed)
				       : total(run, STGUN_COUNT_bytes);
	step->ended = total(run, STGUN_COUNT_ended);
	step->misdelivered = total(run, STGUN_COUNT_misdelivered);
	step->unexpected = total(run, STGUN_COUNT_unexpected);
	step->samples = run->samples;
	merge_latency(run, &step->latency);
	stgun_step_judge(step, options->loss > 0 ? options->loss : 0.01);
	result_step(run->result, step);
	result_print_step(stdout, options, step);
	(void)fflush(stdout);
	return 0;
}

static int search(struct run *run, struct stgun_step *step)
{
	const struct stgun_options *options = run->stgun.options;
	struct search search;
	search_init(&search, rate_packets(&options->rate, options->mix.mean), options->loss);
	while (!search.done && !*run->stop) {
		int result = fire(run, search.rate, step);
		if (result != 0)
			return result;
		search_step(&search, step->limit != LIMIT_GENERATOR, stgun_step_loss(step));
	}
	const char *above = search.limited ? "the generator does not send more" : "more is lost above";
	printf("highest rate with at most %g %% lost: %.0f packets a second; %s\n", options->loss * 100, search.good,
	       above);
	(void)json_object_set_new(run->result, "search",
				  json_pack("{s:f, s:f, s:s, s:b}", "loss", options->loss, "rate", search.good, "limit",
					    search.limited ? "generator" : "none", "complete", search.done));
	return 0;
}

/* --- staying ------------------------------------------------------------------------------------------------------ */

static int hold(struct run *run, struct error *error)
{
	const struct stgun_options *options = run->stgun.options;
	uint64_t now = now_ns();
	run->samples = json_array();
	give_order(run, &(struct stgun_order){.phase = STGUN_HOLD,
					      .start = now,
					      .end = now + options->hold,
					      .interval = (double)options->every * options->threads / options->sessions,
					      .packets = 1,
					      .fresh_latency = true});
	while (!all_reached(run, true) && !*run->stop) {
		nap();
		sample(run);
	}
	end_line(run);
	struct stgun_hold *hold = calloc(1, sizeof *hold);
	if (hold == NULL)
		return error_set(error, -ENOMEM, "no memory for the report");
	hold->seconds = (double)(now_ns() - run->began) / 1e9;
	hold->ended = total(run, STGUN_COUNT_ended);
	hold->resets = total(run, STGUN_COUNT_resets);
	hold->silences = total(run, STGUN_COUNT_silences);
	hold->back = total(run, STGUN_COUNT_up);
	hold->hellos = total(run, STGUN_COUNT_hellos);
	hold->cookies = total(run, STGUN_COUNT_cookies);
	hold->unexpected = total(run, STGUN_COUNT_unexpected);
	hold->samples = run->samples;
	merge_latency(run, &hold->latency);
	result_hold(run->result, hold);
	result_print_hold(stdout, hold);
	(void)fflush(stdout);
	free(hold);
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int check_welcome(const struct run *run, struct error *error)
{
	const struct stgun_options *options = run->stgun.options;
	uint32_t mtu = atomic_load_explicit(&run->stgun.mtu, memory_order_relaxed);
	if (options->mix.most > mtu)
		return error_set(error, -EMSGSIZE, "--size %u: the gateway's MTU is %u", options->mix.most, mtu);
	bool v6 = options->to.family == 6 || (options->to.family == 0 && run->stgun.gateway4.family == 0);
	if (options->mix.least < stgun_packet_size_least(v6 ? 6 : 4))
		return error_set(error, -EINVAL, "--size %u: with IPv6 at least %zu", options->mix.least,
				 stgun_packet_size_least(6));
	return 0;
}

static int work(struct run *run, struct error *error)
{
	const struct stgun_options *options = run->stgun.options;
	int result = 0;
	for (uint32_t i = 0; i < options->rounds && result == 0 && !*run->stop; i++)
		result = dial(run, error);
	if (result != 0 || *run->stop)
		return result;
	if (options->command == STGUN_CONNECT)
		return options->hold != 0 ? hold(run, error) : 0;
	uint32_t suite = atomic_load_explicit(&run->stgun.suite, memory_order_relaxed);
	json_object_set_new(run->result, "cipher", json_string(aead_suite_name(suite)));
	json_object_set_new(run->result, "crypto",
			    json_string(aead_engine_describe(run->stgun.threads[0]->aead, suite)));
	result = check_welcome(run, error);
	if (result == 0 && !options->blind)
		result = meet(run, error);
	struct stgun_step *step = calloc(1, sizeof *step);
	if (step == NULL)
		return error_set(error, -ENOMEM, "no memory for the report");
	if (result == 0 && !*run->stop)
		result = options->command == STGUN_SEARCH
				 ? search(run, step)
				 : fire(run, rate_packets(&options->rate, options->mix.mean), step);
	free(step);
	if (result == 0 && options->hold != 0 && !*run->stop)
		result = hold(run, error);
	return result;
}

static void leave(struct run *run)
{
	const struct stgun_options *options = run->stgun.options;
	uint64_t patience = LEAVE_NS + (uint64_t)(1e9 * options->sessions / LEAVE_RATE);
	give_order(run, &(struct stgun_order){.phase = STGUN_LEAVE,
					      .start = now_ns(),
					      .end = UINT64_MAX,
					      .interval = 1e9 * options->threads / LEAVE_RATE});
	while (!all_reached(run, true) && now_ns() - run->began < patience)
		nap();
}

static int start(struct run *run, struct error *error)
{
	const struct stgun_options *options = run->stgun.options;
	run->stgun.threads = calloc(options->threads, sizeof(struct stgun_thread *));
	run->threads = calloc(options->threads, sizeof *run->threads);
	if (run->stgun.threads == NULL || run->threads == NULL)
		return error_set(error, -ENOMEM, "no memory for %u threads", options->threads);
	for (unsigned i = 0; i < options->threads; i++) {
		run->stgun.threads[i] = stgun_thread_new(&run->stgun, i, error);
		if (run->stgun.threads[i] == NULL)
			return -EIO;
	}
	for (; run->running < options->threads; run->running++) {
		int result = pthread_create(&run->threads[run->running], NULL, stgun_thread_run,
					    run->stgun.threads[run->running]);
		if (result != 0)
			return error_set(error, -result, "no thread can be made (%s)", strerror(result));
	}
	return 0;
}

int stgun_run(struct stgun_options *options, int argc, char **argv, const volatile sig_atomic_t *stop,
	      struct error *error)
{
	char text[ENDPOINT_TEXT_MAX];
	if (options->command != STGUN_CONNECT)
		options->rounds = 1;
	struct run run = {.stgun = {.options = options, .gateway = options->gateway}, .stop = stop};
	run.terminal = isatty(STDERR_FILENO) == 1;
	fprintf(stderr, "stgun: %u session%s on %u thread%s to %s\n", options->sessions,
		options->sessions == 1 ? "" : "s", options->threads, options->threads == 1 ? "" : "s",
		sockaddr_format(&options->gateway, text));
	run.result = result_new(options, argc, argv);
	int result = run.result != NULL ? start(&run, error) : error_set(error, -ENOMEM, "no memory for the report");
	if (result == 0) {
		result = work(&run, error);
		leave(&run);
	}
	give_order(&run, &(struct stgun_order){.phase = STGUN_QUIT});
	for (unsigned i = 0; i < run.running; i++)
		(void)pthread_join(run.threads[i], NULL);
	json_object_set_new(run.result, "interrupted", json_boolean(*stop != 0));
	/* Also when sessions did not come up: it says how far they came. What went wrong first is the error. */
	struct error unwritten;
	if (options->json != NULL && run.result != NULL && result_write(run.result, options->json, &unwritten) != 0 &&
	    result == 0)
		result = error_set(error, -EIO, "%s", unwritten.text);
	json_decref(run.result);
	for (unsigned i = 0; run.stgun.threads != NULL && i < options->threads; i++)
		stgun_thread_free(run.stgun.threads[i]);
	free(run.stgun.threads);
	free(run.threads);
	sodium_memzero(options->preshared_key, sizeof options->preshared_key);
	return result;
}
