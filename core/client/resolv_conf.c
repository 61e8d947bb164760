// SPDX-License-Identifier: Apache-2.0
#include "core/client/resolv_conf.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMER	   "#former: "
#define FORMER_END "#former, no newline: " /* its last line, where it has none */

struct line {
	const char *start;
	size_t length; /* without the newline */
	bool whole;    /* there is a newline */
};

static bool next_line(const struct resolv_conf_text *text, size_t *at, struct line *line)
{
	if (*at >= text->length)
		return false;
	line->start = text->bytes + *at;
	const char *newline = memchr(line->start, '\n', text->length - *at);
	line->whole = newline != NULL;
	line->length = line->whole ? (size_t)(newline - line->start) : text->length - *at;
	*at += line->length + (line->whole ? 1 : 0);
	return true;
}

static bool starts_with(const struct line *line, const char *prefix)
{
	size_t length = strlen(prefix);
	return line->length >= length && memcmp(line->start, prefix, length) == 0;
}

/* As libc parses it: at the start of the line, with white space after it. */
static bool is_keyword(const struct line *line, const char *keyword)
{
	size_t length = strlen(keyword);
	return starts_with(line, keyword) && line->length > length &&
	       (line->start[length] == ' ' || line->start[length] == '\t');
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static struct ip_address server_of(const struct line *line)
{
	char text[IP_TEXT_MAX] = "";
	struct ip_address server = {0};
	size_t at = strlen("nameserver"), length = 0;
	while (at < line->length && isspace((unsigned char)line->start[at]))
		at++;
	while (at < line->length && !isspace((unsigned char)line->start[at]) && length < sizeof text - 1)
		text[length++] = line->start[at++];
	text[length] = '\0';
	if (!ip_address_parse(text, &server))
		server = (struct ip_address){0};
	return server;
}

void resolv_conf_read(const struct resolv_conf_text *text, struct resolv_conf_servers *servers)
{
	struct line line;
	servers->count = 0;
	for (size_t at = 0; servers->count < RESOLV_CONF_SERVERS_MAX && next_line(text, &at, &line);) {
		if (is_keyword(&line, "nameserver"))
			servers->list[servers->count++] = server_of(&line);
	}
}

bool resolv_conf_is_loopback(const struct ip_address *server)
{
	static const struct ip_address loopback6 = {.family = 6, .bytes = {[15] = 1}};
	return (server->family == 4 && server->bytes[0] == 127) || ip_address_equal(server, &loopback6);
}

/* --- ours --------------------------------------------------------------------------------------------------------- */

static bool first_line(const struct resolv_conf_text *text, struct line *line)
{
	size_t at = 0;
	return next_line(text, &at, line) && starts_with(line, RESOLV_CONF_MARK);
}

int resolv_conf_owner(const struct resolv_conf_text *text, const char *interface, struct error *error)
{
	struct line line;
	if (!first_line(text, &line))
		return 0;
	const char *name = line.start + strlen(RESOLV_CONF_MARK);
	size_t room = line.length - strlen(RESOLV_CONF_MARK), length = 0;
	while (length < room && name[length] != ';')
		length++;
	if (length == strlen(interface) && memcmp(name, interface, length) == 0)
		return 1;
	return error_set(error, -EEXIST,
			 "/etc/resolv.conf: interface %.*s has it; 'shardtun down' that one, or set DNS = off",
			 (int)(length < 32 ? length : 32), name);
}

bool resolv_conf_is_in_place(const struct resolv_conf_text *text)
{
	struct line line;
	size_t length = strlen(RESOLV_CONF_IN_PLACE);
	return first_line(text, &line) && line.length > length &&
	       memcmp(line.start + line.length - length, RESOLV_CONF_IN_PLACE, length) == 0;
}

static FILE *open_text(struct resolv_conf_text *text)
{
	*text = (struct resolv_conf_text){0};
	return open_memstream(&text->bytes, &text->length);
}

static int close_text(FILE *out, struct resolv_conf_text *text)
{
	bool bad = ferror(out) != 0;
	if (fclose(out) == 0 && !bad)
		return 0;
	free(text->bytes);
	*text = (struct resolv_conf_text){0};
	return -ENOMEM;
}

static void put_line(FILE *out, const struct line *line, size_t from)
{
	(void)fwrite(line->start + from, 1, line->length - from, out);
}

int resolv_conf_former(const struct resolv_conf_text *text, struct resolv_conf_text *former)
{
	struct line line;
	FILE *out = open_text(former);
	if (out == NULL)
		return -ENOMEM;
	size_t at = 0;
	(void)next_line(text, &at, &line);
	/* Only the first block: the former text may itself contain such comments. */
	while (next_line(text, &at, &line) && (starts_with(&line, FORMER) || starts_with(&line, FORMER_END))) {
		bool whole = starts_with(&line, FORMER);
		put_line(out, &line, strlen(whole ? FORMER : FORMER_END));
		if (whole)
			(void)fputc('\n', out);
	}
	return close_text(out, former);
}

/* Settings that do not depend on the servers. */
static bool is_kept(const struct line *line)
{
	return is_keyword(line, "search") || is_keyword(line, "domain") || is_keyword(line, "options") ||
	       is_keyword(line, "sortlist");
}

static void write_former(FILE *out, const struct resolv_conf_text *former, bool whole)
{
	struct line line;
	for (size_t at = 0; next_line(former, &at, &line);) {
		if (!whole && !is_kept(&line))
			continue;
		put_line(out, &line, 0);
		(void)fputc('\n', out);
	}
}

static void write_comments(FILE *out, const struct resolv_conf_text *former)
{
	struct line line;
	for (size_t at = 0; next_line(former, &at, &line);) {
		(void)fputs(line.whole ? FORMER : FORMER_END, out);
		put_line(out, &line, 0);
		(void)fputc('\n', out);
	}
}

int resolv_conf_write(const struct resolv_conf_wish *wish, const struct resolv_conf_text *former, const char *saved,
		      struct resolv_conf_text *text)
{
	char server[IP_TEXT_MAX];
	FILE *out = open_text(text);
	if (out == NULL)
		return -ENOMEM;
	(void)fprintf(out, RESOLV_CONF_MARK "%s%s%s\n", wish->interface,
		      saved != NULL ? RESOLV_CONF_REPLACED : RESOLV_CONF_IN_PLACE, saved != NULL ? saved : "");
	if (saved == NULL)
		write_comments(out, former);
	for (size_t i = 0; i < wish->count; i++)
		(void)fprintf(out, "nameserver %s\n", ip_address_format(&wish->servers[i], server));
	write_former(out, former, !wish->everything);
	return close_text(out, text);
}
