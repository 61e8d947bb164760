// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/events.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "core/base/log.h"
#include "crypto/aead.h"

enum { EVENT_FIELDS_MAX = 12, EVENT_VALUE_MAX = 160, JOURNAL_FIELD_MAX = 32 + EVENT_VALUE_MAX };
#define EVENTS_SUPPRESSED_NS (10 * NS_PER_S)

struct event_fields {
	enum log_level level;
	size_t count;
	struct event_field {
		const char *name;
		char value[EVENT_VALUE_MAX];
	} list[EVENT_FIELDS_MAX];
};

/* --- an event as fields ------------------------------------------------------------------------------------------- */

static void add(struct event_fields *fields, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

static void add(struct event_fields *fields, const char *name, const char *format, ...)
{
	struct event_field *field = &fields->list[fields->count++];
	field->name = name;
	va_list args;
	va_start(args, format);
	(void)vsnprintf(field->value, sizeof field->value, format, args);
	va_end(args);
}

static void add_endpoint(struct event_fields *fields, const char *name, const struct sockaddr_in6 *endpoint, bool hide)
{
	char text[ENDPOINT_TEXT_MAX];
	add(fields, name, "%s", hide ? "hidden" : sockaddr_format(endpoint, text));
}

static void add_connect(struct event_fields *fields, const struct event *event)
{
	char address4[IP_TEXT_MAX] = "", address6[IP_TEXT_MAX] = "";
	bool both = event->address4.family != 0 && event->address6.family != 0;
	if (event->address4.family != 0)
		ip_address_format(&event->address4, address4);
	if (event->address6.family != 0)
		ip_address_format(&event->address6, address6);
	add(fields, "addresses", "%s%s%s", address4, both ? "," : "", address6);
	add(fields, "suite", "%s", aead_suite_name(event->suite));
	add(fields, "mtu", "%u", event->mtu);
	if (event->rate_up != 0)
		add(fields, "rate_up", "%" PRIu64, (uint64_t)event->rate_up * 1000);
	if (event->rate_down != 0)
		add(fields, "rate_down", "%" PRIu64, (uint64_t)event->rate_down * 1000);
}

static void add_quota(struct event_fields *fields, const struct event *event)
{
	add(fields, "quota", "%" PRIu64, event->quota);
	add(fields, "period", "%s", event->period);
	add(fields, "used", "%" PRIu64, event->used);
	add(fields, "rate", "%" PRIu64, (uint64_t)event->rate * 1000);
}

static void add_totals(struct event_fields *fields, const struct event *event)
{
	add(fields, "duration", "%" PRIu64 ".%03" PRIu64, (uint64_t)(event->duration / NS_PER_S),
	    (uint64_t)(event->duration % NS_PER_S / NS_PER_MS));
	add(fields, "rx_packets", "%" PRIu64, event->rx_packets);
	add(fields, "rx_bytes", "%" PRIu64, event->rx_bytes);
	add(fields, "tx_packets", "%" PRIu64, event->tx_packets);
	add(fields, "tx_bytes", "%" PRIu64, event->tx_bytes);
}

static void describe(struct event_fields *fields, const struct event *event, bool hide)
{
	char key[KEY_TEXT_SIZE];
	*fields = (struct event_fields){.level = event->kind == EVENT_REFUSED || event->kind == EVENT_REKEY_FAILED
							 ? LOG_LEVEL_WARNING
							 : LOG_LEVEL_INFO};
	add(fields, "event", "%s", event_kind_text(event->kind));
	if (event->session_id != 0)
		add(fields, "session", "%08x", event->session_id);
	key_format(event->peer, key);
	add(fields, "peer", "%s", key);
	if (event->name[0] != '\0')
		add(fields, "name", "%s", event->name);
	if (event->protocol != NULL)
		add(fields, "protocol", "%s", event->protocol);
	if (event->endpoint.sin6_family != 0)
		add_endpoint(fields, "endpoint", &event->endpoint, hide);
	if (event->kind == EVENT_ROAM)
		add_endpoint(fields, "previous", &event->previous, hide);
	if (event->kind == EVENT_CONNECT)
		add_connect(fields, event);
	if (event->reason != NULL)
		add(fields, "reason", "%s", event->reason);
	if (event->kind == EVENT_QUOTA)
		add_quota(fields, event);
	if (event->kind == EVENT_DISCONNECT)
		add_totals(fields, event);
}

/* --- fields as a line, and for the journal ------------------------------------------------------------------------ */

/* Values are our own texts: none has a quotation mark. */
static const char *as_line(const struct event_fields *fields, char line[EVENT_LINE_MAX])
{
	size_t used = 0;
	line[0] = '\0';
	for (size_t i = 0; i < fields->count && used < EVENT_LINE_MAX; i++) {
		const struct event_field *field = &fields->list[i];
		const char *quote = strchr(field->value, ' ') != NULL ? "\"" : "";
		int length = snprintf(line + used, EVENT_LINE_MAX - used, "%s%s=%s%s%s", i == 0 ? "" : " ", field->name,
				      quote, field->value, quote);
		used += length > 0 ? (size_t)length : 0;
	}
	return line;
}

const char *events_format(const struct event *event, bool hide_addresses, char line[EVENT_LINE_MAX])
{
	struct event_fields fields;
	describe(&fields, event, hide_addresses);
	return as_line(&fields, line);
}

/* The next pair of a line as as_line() makes it: "SHARDTUN_NAME=value" in `field`, without the quotation marks. Returns
 * what is after it, or NULL. */
static const char *take_pair(const char *line, char field[JOURNAL_FIELD_MAX])
{
	size_t name = strcspn(line, "=");
	if (line[name] != '=')
		return NULL;
	const char *value = line + name + 1;
	bool quoted = *value == '"';
	value += quoted;
	size_t length = strcspn(value, quoted ? "\"" : " ");
	(void)snprintf(field, JOURNAL_FIELD_MAX, "SHARDTUN_%.*s=%.*s", (int)name, line, (int)length, value);
	for (char *c = field; *c != '='; c++)
		*c = (char)toupper((unsigned char)*c);
	value += length + (quoted && value[length] == '"');
	return *value == ' ' ? value + 1 : value;
}

/* On the thread of the log. */
static bool send_to_journal(enum log_level level, const char *line)
{
	enum { BEFORE = 2 /* MESSAGE and PRIORITY */ };
	char message[sizeof "MESSAGE=" + EVENT_LINE_MAX], priority[sizeof "PRIORITY=" + 1];
	char fields[EVENT_FIELDS_MAX][JOURNAL_FIELD_MAX];
	struct iovec iov[BEFORE + EVENT_FIELDS_MAX];
	int count = BEFORE;
	(void)snprintf(message, sizeof message, "MESSAGE=%s", line);
	(void)snprintf(priority, sizeof priority, "PRIORITY=%d", level == LOG_LEVEL_WARNING ? 4 : 6);
	iov[0] = (struct iovec){.iov_base = message, .iov_len = strlen(message)};
	iov[1] = (struct iovec){.iov_base = priority, .iov_len = strlen(priority)};
	for (const char *rest = line; count < (int)ARRAY_SIZE(iov); count++) {
		char *field = fields[count - BEFORE];
		rest = take_pair(rest, field);
		if (rest == NULL)
			break;
		iov[count] = (struct iovec){.iov_base = field, .iov_len = strlen(field)};
	}
	return sd_journal_sendv(iov, count) == 0;
}

static void write_fields(const struct event_fields *fields)
{
	char line[EVENT_LINE_MAX];
	if (log_is_on(fields->level))
		log_event(fields->level, as_line(fields, line));
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of what it connected to the journal. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	char expected[64];
	if (stream == NULL || fstat(STDERR_FILENO, &status) != 0)
		return false;
	(void)snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	return strcmp(stream, expected) == 0;
}

void events_use_journal(void)
{
	if (stderr_is_journal())
		log_events_to(send_to_journal);
}

int events_open(struct events *events, bool hide_addresses, struct error *error)
{
	memset(events, 0, sizeof *events);
	events->hide_addresses = hide_addresses;
	int result = event_queue_init(&events->queue);
	return result == 0 ? 0 : error_set(error, result, "events: %s", strerror(-result));
}

void events_write(struct events *events)
{
	for (struct event *event; (event = event_take(&events->queue)) != NULL; free(event)) {
		struct event_fields fields;
		describe(&fields, event, events->hide_addresses);
		write_fields(&fields);
	}
}

void events_write_suppressed(struct events *events, const uint64_t sums[EVENT_KIND_COUNT], uint64_t now, bool at_once)
{
	if (now < events->next_suppressed && !at_once)
		return;
	for (size_t kind = 0; kind < EVENT_KIND_COUNT; kind++) {
		if (sums[kind] == events->suppressed[kind])
			continue;
		struct event_fields fields = {.level = LOG_LEVEL_WARNING};
		add(&fields, "event", "suppressed");
		add(&fields, "kind", "%s", event_kind_text((enum event_kind)kind));
		add(&fields, "count", "%" PRIu64, sums[kind] - events->suppressed[kind]);
		write_fields(&fields);
		events->suppressed[kind] = sums[kind];
		events->next_suppressed = now + EVENTS_SUPPRESSED_NS;
	}
}

static void describe_kept(struct event_fields *fields, const struct reconcile_news *news)
{
	const char *what = news->restored != 0 ? "restored" : news->in_force ? "in_force" : "not_in_force";
	*fields = (struct event_fields){.level = news->in_force ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING};
	add(fields, "event", "%s", what);
	add(fields, "what", "%s", reconcile_label(news->kind));
	if (news->restored != 0)
		add(fields, "count", "%u", news->restored);
	if (news->restored != 0 || !news->in_force)
		add(fields, "first", "%s", news->first);
	if (!news->in_force && news->why[0] != '\0')
		add(fields, "reason", "%s", news->why);
	if (!news->in_force && news->next_try != 0)
		add(fields, "retry", "%u", (unsigned)((news->next_try + NS_PER_S - 1) / NS_PER_S));
	for (size_t i = 0; i < fields->count; i++) {
		for (char *c = fields->list[i].value; *c != '\0'; c++)
			*c = *c == '"' ? '\'' : *c; /* errors quote names */
	}
}

const char *events_format_kept(const struct reconcile_news *news, char line[EVENT_LINE_MAX])
{
	struct event_fields fields;
	describe_kept(&fields, news);
	return as_line(&fields, line);
}

void events_tell_kept(const struct reconcile_news *news)
{
	struct event_fields fields;
	describe_kept(&fields, news);
	write_fields(&fields);
}

void events_close(struct events *events)
{
	events_write(events);
	event_queue_deinit(&events->queue);
}
