// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/layout.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/printable.h"
#include "core/daemon/daemon.h"

#define LAYOUT_VERSION "shardtun descriptors 1"
enum {
	SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
	LINE_SHOWN = 96, /* bytes of a line in an error */
};

/* --- the text ----------------------------------------------------------------------------------------------------- */

/* The file is a part of it: a socket whose file was removed or replaced cannot be reached. */
static void put_file(FILE *out, const char *name, const char *path)
{
	struct stat status;
	if (lstat(path, &status) == 0)
		fprintf(out, "%s %s, file %jx:%jx\n", name, path, (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	else
		fprintf(out, "%s %s, no file\n", name, path);
}

static void put_metrics(FILE *out, const struct config_listener *config)
{
	char text[IP_TEXT_MAX];
	if (config->path != NULL)
		put_file(out, "MetricsListen", config->path);
	else if (config->port != 0)
		fprintf(out, "MetricsListen %s port %u\n", ip_address_format(&config->address, text), config->port);
}

static void put(FILE *out, const struct daemon_params *params)
{
	char text[IP_TEXT_MAX], path[DESCRIPTORS_PATH_MAX];
	fprintf(out, "%s\n", LAYOUT_VERSION);
	fprintf(out, "Workers %u\nHandshakers %u\nTunReaders %u\n", params->workers, params->handshakers,
		params->tun_readers);
	fprintf(out, "sockets %zu\nwriting queues %u\nsteered queues %" PRIu32 "\n", params->sockets,
		params->tun_writers, params->tun_steering.queues);
	fprintf(out, "ListenPort %u\n", params->listen_port);
	for (size_t i = 0; i < params->listen_address_count; i++)
		fprintf(out, "ListenAddress %s\n", ip_address_format(&params->listen_addresses[i], text));
	fprintf(out, "Interface %s\n", params->common->interface);
	for (size_t i = 0; i < params->address_count; i++)
		fprintf(out, "Address %s\n", ip_prefix_format(&params->addresses[i], text));
	put_file(out, "ControlSocket", params->common->control_socket);
	put_metrics(out, &params->common->metrics_listen);
	if (params->wireguard != NULL)
		put_file(out, "WireGuard's socket", descriptors_wireguard_path(params->common->interface, path));
}

static void put_interface(FILE *out, const struct daemon_params *params)
{
	fprintf(out, "MTU %u\nDisableOffloads %" PRIx32 "\n", params->mtu, params->common->disabled_offloads);
}

static char *text_of(const struct daemon_params *params, bool running)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	put(out, params);
	if (running)
		put_interface(out, params);
	bool complete = !ferror(out);
	if (fclose(out) == 0 && complete)
		return text;
	free(text);
	return NULL;
}

char *layout_text(const struct daemon_params *params)
{
	return text_of(params, false);
}

char *layout_running_text(const struct daemon_params *params)
{
	return text_of(params, true);
}

/* --- the memory --------------------------------------------------------------------------------------------------- */

int layout_write(const char *text, struct error *error)
{
	int fd = memfd_create("shardtun-layout", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(error, -errno, "layout: memfd_create: %s", strerror(errno));
	size_t length = strlen(text);
	ssize_t written = write(fd, text, length);
	if (written == (ssize_t)length && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return fd;
	int code = written < 0 || written == (ssize_t)length ? -errno : -ENOSPC;
	close(fd);
	return error_set(error, code, "layout: %s", strerror(-code));
}

static size_t line_length(const char *line)
{
	return strcspn(line, "\n");
}

static int differs(const char *is, const char *has, struct error *error)
{
	char shown[2][LINE_SHOWN], line[2][LINE_SHOWN];
	while (*is != '\0' && *is != '\n' && line_length(is) == line_length(has) &&
	       strncmp(is, has, line_length(is)) == 0) {
		is += line_length(is) + (is[line_length(is)] != '\0');
		has += line_length(has) + (has[line_length(has)] != '\0');
	}
	(void)snprintf(line[0], LINE_SHOWN, "%.*s", (int)line_length(is), is);
	(void)snprintf(line[1], LINE_SHOWN, "%.*s", (int)line_length(has), has);
	(void)printable_copy(shown[0], LINE_SHOWN, line[0]);
	(void)printable_copy(shown[1], LINE_SHOWN, line[1]);
	return error_set(error, -EPROTO, "another layout: \"%s\", which was \"%s\"", shown[0], shown[1]);
}

int layout_check(int fd, const char *text, struct error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS ||
	    status.st_size < 0 || status.st_size > LAYOUT_MOST)
		return error_set(error, -EPROTO, "layout: no sealed memory");
	size_t size = (size_t)status.st_size;
	char *was = calloc(1, size + 1);
	if (was == NULL)
		return error_set(error, -ENOMEM, "layout: out of memory");
	int result = pread(fd, was, size, 0) == (ssize_t)size ? 0 : error_set(error, -EPROTO, "layout: unreadable");
	if (result == 0 && strcmp(was, text) != 0)
		result = differs(text, was, error);
	free(was);
	return result;
}
