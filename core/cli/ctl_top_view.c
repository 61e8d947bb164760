// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/printable.h"
#include "core/cli/ctl_text.h"
#include "core/cli/ctl_top.h"

const char *const ctl_top_orders[] = {"bits", "rx", "tx", "packets", "bytes", "seen", "age", "roams"};

enum { LINE_MAX_BYTES = 512, THREAD_NAME = 15 /* with the terminator */ };

/* --- rates -------------------------------------------------------------------------------------------------------- */

static double seconds_between(const struct ctl_top_view *view)
{
	return view->before.at != 0 ? (double)(view->now.at - view->before.at) / 1e9 : 0;
}

double ctl_top_rate(const struct ctl_top_view *view, const json_t *before, const json_t *now, const char *key)
{
	double seconds = seconds_between(view);
	uint64_t old = ctl_number(before, key), new = ctl_number(now, key);
	return seconds > 0 && new > old ? (double)(new - old) / seconds : 0;
}

const char *ctl_top_rate_text(char text[CTL_TOP_CELL], double value)
{
	static const char *const units[] = {"", " k", " M", " G", " T"};
	unsigned unit = 0;
	if (value < 0.5)
		return "-";
	for (; value >= 9999.5 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1000;
	if (unit == 0 || value >= 99.95)
		(void)snprintf(text, CTL_TOP_CELL, "%.0f%s", value, units[unit]);
	else
		(void)snprintf(text, CTL_TOP_CELL, "%.1f%s", value, units[unit]);
	return text;
}

/* --- head --------------------------------------------------------------------------------------------------------- */

static uint64_t drops_of(const json_t *status)
{
	size_t i;
	json_t *drop;
	uint64_t sum = 0;
	json_array_foreach (json_object_get(status, "drops"), i, drop)
		sum += ctl_number(drop, "count");
	return sum;
}

/* Never cuts a multi-byte character in two. */
static const char *cut(char *shown, size_t size, const char *text, size_t width)
{
	(void)printable_copy(shown, width < size ? width + 1 : size, text);
	return shown;
}

void ctl_top_write_line(FILE *out, const struct ctl_top_view *view, const char *line)
{
	char shown[LINE_MAX_BYTES];
	fprintf(out, "%s\n", cut(shown, sizeof shown, line, view->width));
}

static void write_head(FILE *out, const struct ctl_top_view *view)
{
	const json_t *status = view->now.status;
	const json_t *before = json_object_get(view->before.status, "counters");
	const json_t *now = json_object_get(status, "counters"), *sessions = json_object_get(status, "sessions");
	char line[LINE_MAX_BYTES], up[CTL_NUMBER_MAX], in[CTL_TOP_CELL], in_packets[CTL_TOP_CELL], to[CTL_TOP_CELL],
		to_packets[CTL_TOP_CELL], drops[CTL_TOP_CELL];
	(void)snprintf(line, sizeof line, "%s %s, up %s; sessions %" PRIu64 " of %" PRIu64,
		       ctl_text(json_object_get(status, "interface"), "name"), ctl_text(status, "role"),
		       ctl_duration(up, ctl_number(status, "uptime_seconds")), ctl_number(sessions, "active"),
		       ctl_number(sessions, "max"));
	ctl_top_write_line(out, view, line);
	double dropped = seconds_between(view);
	uint64_t drops_before = drops_of(view->before.status), drops_now = drops_of(status);
	dropped = dropped > 0 && drops_now > drops_before ? (double)(drops_now - drops_before) / dropped : 0;
	(void)snprintf(line, sizeof line, "received %s bit/s, %s packets/s; sent %s bit/s, %s packets/s; drops/s %s",
		       ctl_top_rate_text(in, 8 * ctl_top_rate(view, before, now, "udp_rx_bytes")),
		       ctl_top_rate_text(in_packets, ctl_top_rate(view, before, now, "udp_rx_packets")),
		       ctl_top_rate_text(to, 8 * ctl_top_rate(view, before, now, "udp_tx_bytes")),
		       ctl_top_rate_text(to_packets, ctl_top_rate(view, before, now, "udp_tx_packets")),
		       ctl_top_rate_text(drops, dropped));
	ctl_top_write_line(out, view, line);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

const json_t *ctl_top_thread_before(const struct ctl_top_view *view, const json_t *thread, size_t place)
{
	const json_t *old = json_array_get(json_object_get(view->before.status, "threads"), place);
	return strcmp(ctl_text(old, "name"), ctl_text(thread, "name")) == 0 ? old : NULL;
}

static void write_thread(FILE *out, const struct ctl_top_view *view, const json_t *thread, size_t place)
{
	static const char *const keys[] = {"udp_rx_packets", "udp_rx_bytes",   "udp_tx_packets",
					   "udp_tx_bytes",   "tun_rx_packets", "tun_tx_packets"};
	const json_t *old = ctl_top_thread_before(view, thread, place);
	const json_t *before = json_object_get(old, "counters"), *now = json_object_get(thread, "counters");
	char line[LINE_MAX_BYTES], name[THREAD_NAME], cell[CTL_TOP_CELL], cpu[CTL_TOP_CELL] = "any";
	if (json_is_integer(json_object_get(thread, "cpu")))
		(void)snprintf(cpu, sizeof cpu, "%" PRIu64, ctl_number(thread, "cpu"));
	size_t used = (size_t)snprintf(line, sizeof line, "%-14s %3s %4.0f%%",
				       cut(name, sizeof name, ctl_text(thread, "name"), sizeof name), cpu,
				       100 * json_number_value(json_object_get(thread, "load")));
	for (size_t i = 0; i < ARRAY_SIZE(keys) && used < sizeof line; i++) {
		double value = ctl_top_rate(view, before, now, keys[i]) * (strstr(keys[i], "bytes") != NULL ? 8 : 1);
		used += (size_t)snprintf(line + used, sizeof line - used, " %8s", ctl_top_rate_text(cell, value));
	}
	double drops = ctl_top_rate(view, old, thread, "drops_uplink") +
		       ctl_top_rate(view, old, thread, "drops_downlink");
	if (used < sizeof line)
		(void)snprintf(line + used, sizeof line - used, " %7s", ctl_top_rate_text(cell, drops));
	ctl_top_write_line(out, view, line);
}

static void write_threads(FILE *out, const struct ctl_top_view *view)
{
	size_t i;
	json_t *thread;
	char line[128];
	(void)snprintf(line, sizeof line, "%-14s %3s %5s %8s %8s %8s %8s %8s %8s %7s", "thread", "CPU", "load",
		       "recv/s", "bit/s", "sent/s", "bit/s", "TUN in/s", "out/s", "drops/s");
	fputc('\n', out);
	fputc(CTL_TOP_HEADING, out);
	ctl_top_write_line(out, view, line);
	json_array_foreach (json_object_get(view->now.status, "threads"), i, thread)
		write_thread(out, view, thread, i);
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static const char *text_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	(void)text;
	return ctl_text(session, key);
}

/* The name that the operator gave the peer, else its key. */
static const char *client_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	const char *name = json_string_value(json_object_get(session, key));
	return name != NULL && name[0] != '\0' ? name : text_cell(session, "peer", text);
}

static const char *address_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	(void)text;
	return ctl_text_of(json_array_get(json_object_get(session, key), 0));
}

static const char *rate_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	return ctl_top_rate_text(text, (double)ctl_number(session, key));
}

static const char *packets_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	return ctl_top_rate_text(text,
				 (double)(ctl_number(session, key) + ctl_number(session, "tx_packets_per_second")));
}

/* "3 h": only the larger unit of ctl_duration(), for narrow columns. */
static const char *duration_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	uint64_t seconds = ctl_number(session, key);
	if (!json_is_integer(json_object_get(session, key)))
		return "-";
	if (seconds >= 86400)
		(void)snprintf(text, CTL_TOP_CELL, "%" PRIu64 " d", seconds / 86400);
	else if (seconds >= 3600)
		(void)snprintf(text, CTL_TOP_CELL, "%" PRIu64 " h", seconds / 3600);
	else if (seconds >= 60)
		(void)snprintf(text, CTL_TOP_CELL, "%" PRIu64 " min", seconds / 60);
	else
		(void)snprintf(text, CTL_TOP_CELL, "%" PRIu64 " s", seconds);
	return text;
}

static const char *bytes_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	return ctl_bytes(text, ctl_number(session, key) + ctl_number(session, "tx_bytes"));
}

static const char *count_cell(const json_t *session, const char *key, char text[CTL_TOP_CELL])
{
	return ctl_count(text, ctl_number(session, key));
}

struct column {
	const char *title, *key;
	const char *(*cell)(const json_t *session, const char *key, char text[CTL_TOP_CELL]);
	bool right;
	unsigned widest; /* longer cells are cut */
	unsigned rank;	 /* columns with the largest are dropped first when there is no room */
};

static const struct column columns[] = {
	{"client", "name", client_cell, false, 44, 0},
	{"address", "addresses", address_cell, false, 39, 1},
	{"endpoint", "endpoint", text_cell, false, 47, 7},
	{"rx bit/s", "rx_bits_per_second", rate_cell, true, 8, 2},
	{"tx bit/s", "tx_bits_per_second", rate_cell, true, 8, 3},
	{"packets/s", "rx_packets_per_second", packets_cell, true, 9, 5},
	{"bytes", "rx_bytes", bytes_cell, true, 9, 9},
	{"seen", "idle_seconds", duration_cell, true, 6, 4},
	{"since", "connected_seconds", duration_cell, true, 6, 8},
	{"epoch", "epoch", count_cell, true, 5, 6},
	{"roams", "roams", count_cell, true, 5, 6},
	{"worker", "worker", count_cell, true, 6, 10},
	{"protocol", "protocol", text_cell, false, 9, 11},
};

static bool contains(const char *text, const char *part)
{
	return text != NULL && strcasestr(text, part) != NULL;
}

static bool passes(const struct ctl_top_view *view, const json_t *session)
{
	static const char *const keys[] = {"name", "peer", "endpoint", "id", "protocol"};
	if (view->filter[0] == '\0')
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (contains(json_string_value(json_object_get(session, keys[i])), view->filter))
			return true;
	}
	size_t i;
	json_t *address;
	json_array_foreach (json_object_get(session, "addresses"), i, address) {
		if (contains(json_string_value(address), view->filter))
			return true;
	}
	return false;
}

/* The client's column can be cut: the beginning of a key identifies it. */
enum { CLIENT_LEAST = 10 };

/* Computes the width of each column; 0: there is no room for it. */
static void fit(const struct ctl_top_view *view, json_t *const *sessions, unsigned count,
		unsigned widths[ARRAY_SIZE(columns)])
{
	unsigned sum = 0;
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++) {
		char text[CTL_TOP_CELL];
		widths[c] = (unsigned)strlen(columns[c].title);
		for (unsigned i = 0; i < count; i++) {
			unsigned length = (unsigned)strlen(columns[c].cell(sessions[i], columns[c].key, text));
			widths[c] = length > widths[c] ? length : widths[c];
		}
		widths[c] = widths[c] < columns[c].widest ? widths[c] : columns[c].widest;
		sum += widths[c] + 1;
	}
	while (sum > view->width + 1) {
		size_t least = 0;
		for (size_t c = 1; c < ARRAY_SIZE(columns); c++) {
			if (widths[c] != 0 && columns[c].rank >= columns[least].rank)
				least = c;
		}
		unsigned over = sum - view->width - 1;
		if (widths[0] >= CLIENT_LEAST + over) {
			widths[0] -= over;
			break;
		}
		if (least == 0)
			break;
		sum -= widths[least] + 1;
		widths[least] = 0;
	}
}

/* Escaped: cells are the daemon's texts, and must not move the cursor. */
static void write_cell(FILE *out, const char *text, unsigned width, bool right, bool last)
{
	char shown[CTL_TOP_CELL];
	(void)cut(shown, sizeof shown, text, width);
	if (last && !right)
		fputs(shown, out);
	else
		fprintf(out, "%*s%s", right ? (int)width : -(int)width, shown, last ? "" : " ");
}

static void write_row(FILE *out, const unsigned widths[ARRAY_SIZE(columns)], const json_t *session)
{
	size_t last = 0;
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++)
		last = widths[c] != 0 ? c : last;
	for (size_t c = 0; c <= last; c++) {
		char text[CTL_TOP_CELL];
		if (widths[c] != 0)
			write_cell(out,
				   session != NULL ? columns[c].cell(session, columns[c].key, text) : columns[c].title,
				   widths[c], columns[c].right, c == last);
	}
	fputc('\n', out);
}

static void write_sessions(FILE *out, const struct ctl_top_view *view)
{
	size_t i;
	json_t *session, *shown[CTL_TOP_SESSIONS_MAX];
	unsigned count = 0, passed = 0, widths[ARRAY_SIZE(columns)];
	json_array_foreach (json_object_get(view->now.top, "sessions"), i, session) {
		if (passes(view, session) && passed++ >= view->first && count < view->rows &&
		    count < CTL_TOP_SESSIONS_MAX)
			shown[count++] = session;
	}
	fit(view, shown, count, widths);
	fputc('\n', out);
	fputc(CTL_TOP_HEADING, out);
	write_row(out, widths, NULL);
	for (i = 0; i < count; i++)
		write_row(out, widths, shown[i]);
}

void ctl_top_write(FILE *out, const struct ctl_top_view *view)
{
	write_head(out, view);
	write_threads(out, view);
	if (!view->brief)
		ctl_top_write_queues(out, view);
	if (view->now.top != NULL)
		write_sessions(out, view);
}
