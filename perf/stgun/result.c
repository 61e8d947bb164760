// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/result.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define REACHED 0.99 /* of what was offered */

static const char *const limit_names[] = {"none", "generator", "reflector"};

double stgun_step_loss(const struct stgun_step *step)
{
	return step->known && step->sent != 0 ? (double)step->lost / (double)step->sent : 0;
}

void stgun_step_judge(struct stgun_step *step, double bound)
{
	double borne = bound * (double)step->sent;
	step->limit = LIMIT_NONE;
	if (step->rate != 0 && (double)step->sent < REACHED * (double)step->offered)
		step->limit = LIMIT_GENERATOR;
	else if (step->rate == 0 && !step->windowed && step->known && (double)step->lost <= borne)
		step->limit = LIMIT_GENERATOR; /* the other side took all there was */
	else if (step->reflector_lost != 0 && (double)step->lost > borne &&
		 (double)step->lost - (double)step->reflector_lost <= borne)
		step->limit = LIMIT_REFLECTOR;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static void read_cpu(char *name, size_t size)
{
	char line[256];
	(void)snprintf(name, size, "unknown");
	FILE *file = fopen("/proc/cpuinfo", "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof line, file) != NULL) {
		char *value = strstr(line, ": ");
		if (strncmp(line, "model name", strlen("model name")) != 0 || value == NULL)
			continue;
		value[strcspn(value, "\n")] = '\0';
		(void)snprintf(name, size, "%s", value + 2);
		break;
	}
	(void)fclose(file);
}

static json_t *machine(void)
{
	char cpu[128];
	struct utsname name = {0};
	read_cpu(cpu, sizeof cpu);
	(void)uname(&name);
	return json_pack("{s:s, s:I, s:s, s:s}", "cpu", cpu, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
			 "kernel", name.release, "arch", name.machine);
}

json_t *result_new(const struct stgun_options *options, int argc, char **argv)
{
	json_t *command = json_array();
	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(command, json_string(argv[i]));
	char started[32];
	time_t now = time(NULL);
	struct tm utc;
	(void)strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	return json_pack("{s:i, s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:[], s:[]}", "version", REPORT_VERSION, "program",
			 "stgun", "program_version", SHARDTUN_VERSION, "command", command, "started", started,
			 "machine", machine(), "sessions", (json_int_t)options->sessions, "threads",
			 (json_int_t)options->threads, "connect", "steps");
}

static json_t *latency(const struct histogram_sum *sum)
{
	if (sum->count == 0)
		return json_null();
	return json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)sum->count, "mean",
			 (double)sum->sum / (double)sum->count, "p50", (json_int_t)histogram_quantile(sum, 0.5), "p90",
			 (json_int_t)histogram_quantile(sum, 0.9), "p99", (json_int_t)histogram_quantile(sum, 0.99),
			 "p999", (json_int_t)histogram_quantile(sum, 0.999), "max", (json_int_t)sum->max);
}

static double per_second(uint64_t number, double seconds)
{
	return seconds > 0 ? (double)number / seconds : 0;
}

void result_round(json_t *result, const struct stgun_round *round)
{
	struct rusage usage = {0};
	(void)getrusage(RUSAGE_SELF, &usage);
	json_t *object = json_pack("{s:f, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "seconds", round->seconds,
				   "up", (json_int_t)round->up, "per_second", per_second(round->up, round->seconds),
				   "hellos", (json_int_t)round->hellos, "cookies", (json_int_t)round->cookies,
				   "welcomes", (json_int_t)round->welcomes, "unexpected", (json_int_t)round->unexpected,
				   "resident_kib", (json_int_t)usage.ru_maxrss, "latency_ns", latency(&round->latency),
				   "samples", round->samples);
	(void)json_array_append_new(json_object_get(result, "connect"), object);
}

void result_step(json_t *result, const struct stgun_step *step)
{
	json_t *object = json_pack(
		"{s:f, s:f, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:s, s:o, s:o}", "rate",
		step->rate, "seconds", step->seconds, "offered", (json_int_t)step->offered, "sent",
		(json_int_t)step->sent, "refused", (json_int_t)step->refused, "received",
		step->known ? json_integer((json_int_t)step->received) : json_null(), "lost",
		step->known ? json_integer((json_int_t)step->lost) : json_null(), "loss",
		step->known ? json_real(stgun_step_loss(step)) : json_null(), "arrived", (json_int_t)step->arrived,
		"reflector_lost", (json_int_t)step->reflector_lost, "sent_bytes", (json_int_t)step->sent_bytes,
		"received_bytes", step->known ? json_integer((json_int_t)step->received_bytes) : json_null(),
		"sessions_ended", (json_int_t)step->ended, "misdelivered", (json_int_t)step->misdelivered, "unexpected",
		(json_int_t)step->unexpected, "limit", limit_names[step->limit], "latency_ns", latency(&step->latency),
		"samples", step->samples);
	(void)json_array_append_new(json_object_get(result, "steps"), object);
}

void result_hold(json_t *result, const struct stgun_hold *hold)
{
	json_t *object = json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "seconds", hold->seconds,
				   "ended", (json_int_t)hold->ended, "resets", (json_int_t)hold->resets, "silences",
				   (json_int_t)hold->silences, "back", (json_int_t)hold->back, "hellos",
				   (json_int_t)hold->hellos, "cookies", (json_int_t)hold->cookies, "unexpected",
				   (json_int_t)hold->unexpected, "latency_ns", latency(&hold->latency), "samples",
				   hold->samples);
	(void)json_object_set_new(result, "stay", object);
}

int result_write(json_t *result, const char *path, struct error *error)
{
	bool standard = strcmp(path, "-") == 0;
	FILE *out = standard ? stdout : fopen(path, "we");
	if (out == NULL)
		return error_set(error, -errno, "--json %s: %s", path, strerror(errno));
	int status = json_dumpf(result, out, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
	if (status == 0 && fputc('\n', out) == EOF)
		status = -1;
	if (!standard && fclose(out) != 0)
		status = -1;
	return status == 0 ? 0 : error_set(error, -EIO, "--json %s: it cannot be written whole", path);
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static void print_latency(FILE *out, const char *what, const struct histogram_sum *sum)
{
	if (sum->count == 0)
		return;
	fprintf(out, "  %s: p50 %.1f us, p90 %.1f, p99 %.1f, p99.9 %.1f, most %.1f (%lu measured)\n", what,
		(double)histogram_quantile(sum, 0.5) / 1e3, (double)histogram_quantile(sum, 0.9) / 1e3,
		(double)histogram_quantile(sum, 0.99) / 1e3, (double)histogram_quantile(sum, 0.999) / 1e3,
		(double)sum->max / 1e3, sum->count);
}

void result_print_round(FILE *out, const struct stgun_options *options, const struct stgun_round *round)
{
	fprintf(out, "%lu of %u sessions up after %.2f s: %.0f a second; %lu HELLOs, %lu COOKIEs, %lu WELCOMEs\n",
		round->up, options->sessions, round->seconds, per_second(round->up, round->seconds), round->hellos,
		round->cookies, round->welcomes);
	print_latency(out, "handshake", &round->latency);
}

void result_print_hold(FILE *out, const struct stgun_hold *hold)
{
	fprintf(out,
		"stayed %.1f s: %lu sessions ended, %lu of them by RESET, %lu found silence, %lu came back; %lu "
		"HELLOs, "
		"%lu COOKIEs\n",
		hold->seconds, hold->ended, hold->resets, hold->silences, hold->back, hold->hellos, hold->cookies);
	print_latency(out, "back after", &hold->latency);
}

void result_print_step(FILE *out, const struct stgun_options *options, const struct stgun_step *step)
{
	fprintf(out, "%s: sent %.0f packets a second", stgun_direction_names[options->direction],
		per_second(step->sent, step->seconds));
	if (step->rate != 0)
		fprintf(out, " of %.0f", step->rate);
	if (step->known)
		fprintf(out, ", received %.0f = %.3f Gbit/s inside\n  %lu sent, %lu received, %lu lost (%.3f %%)\n",
			per_second(step->received, step->seconds),
			per_second(step->received_bytes, step->seconds) * 8e-9, step->sent, step->received, step->lost,
			100 * stgun_step_loss(step));
	else
		fprintf(out, " = %.3f Gbit/s inside\n  %lu sent\n", per_second(step->sent_bytes, step->seconds) * 8e-9,
			step->sent);
	print_latency(out, "round trip", &step->latency);
	if (step->limit == LIMIT_GENERATOR && step->rate != 0)
		fprintf(out, "  limit: the generator, which was to send %lu and did not\n", step->offered);
	else if (step->limit == LIMIT_GENERATOR)
		fprintf(out, "  limit: the generator, which sends no faster; what it sent arrived\n");
	else if (step->limit == LIMIT_REFLECTOR)
		fprintf(out, "  limit: the reflector, whose sockets lost %lu\n", step->reflector_lost);
	if (step->refused != 0)
		fprintf(out, "  %lu packets were refused by our own socket, and are not counted as sent\n",
			step->refused);
	if (step->misdelivered != 0)
		fprintf(out, "  %lu packets came by another session than theirs\n", step->misdelivered);
	if (step->ended != 0)
		fprintf(out, "  the gateway ended %lu sessions\n", step->ended);
}
