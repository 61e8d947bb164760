// SPDX-License-Identifier: Apache-2.0
#include "core/app/ctl.h"

#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int ctl_find_socket(const char *directory, char path[CTL_PATH_MAX], struct error *error)
{
	char pattern[CTL_PATH_MAX];
	if ((size_t)snprintf(pattern, sizeof pattern, "%s/*.sock", directory) >= sizeof pattern)
		return error_set(error, -ENAMETOOLONG, "%s: the path is too long", directory);
	if (access(directory, R_OK | X_OK) != 0 && errno != ENOENT)
		return error_set(error, -errno, "%s: %s; run as root, or name the socket with --socket PATH", directory,
				 strerror(errno));

	glob_t found;
	if (glob(pattern, 0, NULL, &found) != 0)
		return error_set(error, -ENOENT,
				 "no daemon is running: there is no socket in %s; start one, or name its socket with "
				 "--socket PATH",
				 directory);
	int code = 0;
	if (found.gl_pathc == 1) {
		snprintf(path, CTL_PATH_MAX, "%s", found.gl_pathv[0]);
	} else {
		char list[sizeof error->text] = "";
		for (size_t i = 0, used = 0; i < found.gl_pathc && used < sizeof list; i++)
			used += (size_t)snprintf(list + used, sizeof list - used, " %s", found.gl_pathv[i]);
		code = error_set(error, -ENOTUNIQ, "there are several daemons; choose one with --socket:%s", list);
	}
	globfree(&found);
	return code;
}

bool ctl_line_add(struct ctl_line *line, const char *word)
{
	for (const char *c = word; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	int length = snprintf(line->text + line->length, sizeof line->text - line->length, "%s%s",
			      line->length != 0 ? " " : "", word);
	line->length += (size_t)length;
	return *word != '\0' && line->length < sizeof line->text - 1; /* and the newline */
}

static int connect_to(const char *path, unsigned seconds, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if (length >= sizeof address.sun_path)
		return error_set(error, -ENAMETOOLONG, "%s: the path is too long for a socket", path);
	memcpy(address.sun_path, path, length);

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	struct timeval limit = {.tv_sec = (time_t)seconds};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
	    connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return fd;

	int failure = errno;
	close(fd);
	const char *hint = failure == ECONNREFUSED || failure == ENOENT ? "; is the daemon running?"
			   : failure == EACCES				? "; run as root"
									: "";
	return error_set(error, -failure, "%s: nobody can be asked there (%s)%s", path, strerror(failure), hint);
}

struct reader {
	int fd;
	int failure; /* errno of the last read */
	bool begun;  /* something came */
};

static size_t read_answer(void *buffer, size_t size, void *context)
{
	struct reader *reader = context;
	ssize_t got;
	do {
		got = recv(reader->fd, buffer, size, 0);
	} while (got < 0 && errno == EINTR);
	reader->failure = got < 0 ? errno : 0;
	reader->begun |= got > 0;
	return got < 0 ? (size_t)-1 : (size_t)got;
}

static int explain_silence(const char *path, const struct reader *reader, struct error *error)
{
	if (reader->failure == EAGAIN)
		return error_set(error, -ETIMEDOUT, "%s: the daemon does not answer", path);
	if (reader->failure != 0)
		return error_set(error, -reader->failure, "%s: reading the answer failed (%s)", path,
				 strerror(reader->failure));
	return error_set(error, -EPROTO, "%s: %s", path,
			 reader->begun ? "the answer is cut short or from something else than shardtun"
				       : "the daemon closed the connection without an answer");
}

int ctl_request(const char *path, const char *request, json_t **result, struct error *error)
{
	return ctl_request_for(path, request, CTL_PATIENCE, result, error);
}

int ctl_request_for(const char *path, const char *request, unsigned seconds, json_t **result, struct error *error)
{
	char *line;
	int length = asprintf(&line, "%s\n", request);
	if (length < 0)
		return error_set(error, -ENOMEM, "no memory for the request");
	int fd = connect_to(path, seconds, error);
	if (fd < 0) {
		explicit_bzero(line, (size_t)length);
		free(line);
		return fd;
	}
	/* A daemon that refuses may do so before it has read all: what it says tells more than a failed send. For the
	 * same reason a reset after a whole answer is no failure; to the parser it is an end. */
	ssize_t sent = send(fd, line, (size_t)length, MSG_NOSIGNAL);
	(void)sent;
	explicit_bzero(line, (size_t)length);
	free(line);
	struct reader reader = {.fd = fd};
	json_t *answer = json_load_callback(read_answer, &reader, 0, NULL);
	close(fd);

	int code;
	const char *refusal = json_string_value(json_object_get(answer, "error"));
	json_t *value = json_object_get(answer, "result");
	if (refusal != NULL) {
		code = error_set(error, -EREMOTEIO, "%s", refusal);
	} else if (value != NULL) {
		*result = json_incref(value);
		code = 0;
	} else {
		code = explain_silence(path, &reader, error);
	}
	json_decref(answer);
	return code;
}
