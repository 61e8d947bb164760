// SPDX-License-Identifier: Apache-2.0
#include "core/agent/registrar.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/control/words.h"

enum { WAITING_MAX = CONTROL_CONNECTIONS_MAX };

struct registrar {
	const struct agent_settings *settings;
	pthread_t thread;
	int fd; /* a job is done */
	_Atomic bool ended;
	pthread_mutex_t lock; /* of the lists */
	pthread_cond_t wanted;
	struct registrar_job *waiting, *done; /* the first of each */
};

static void append(struct registrar_job **list, struct registrar_job *job)
{
	job->next = NULL;
	while (*list != NULL)
		list = &(*list)->next;
	*list = job;
}

static struct registrar_job *remove_first(struct registrar_job **list)
{
	struct registrar_job *job = *list;
	if (job != NULL)
		*list = job->next;
	return job;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void run_job(struct registrar *registrar, struct registrar_job *job)
{
	const struct registration_call call = {.settings = registrar->settings,
					       .pool = job->pool,
					       .limit_ms = REGISTRATION_LIMIT_MS,
					       .cancelled = &registrar->ended};
	job->code = job->add ? registration_add(&call, &job->peer, &job->index, &job->error)
			     : registration_delete(&call, job->peer.key, &job->error);
}

static void *run(void *context)
{
	struct registrar *registrar = context;
	pthread_mutex_lock(&registrar->lock);
	while (!atomic_load_explicit(&registrar->ended, memory_order_relaxed)) {
		struct registrar_job *job = remove_first(&registrar->waiting);
		if (job == NULL) {
			pthread_cond_wait(&registrar->wanted, &registrar->lock);
			continue;
		}
		pthread_mutex_unlock(&registrar->lock);
		run_job(registrar, job);
		pthread_mutex_lock(&registrar->lock);
		append(&registrar->done, job);
		(void)eventfd_write(registrar->fd, 1);
	}
	pthread_mutex_unlock(&registrar->lock);
	return NULL;
}

/* --- the agent's thread ------------------------------------------------------------------------------------------- */

struct registrar *registrar_new(const struct agent_settings *settings, struct error *error)
{
	struct registrar *registrar = calloc(1, sizeof *registrar);
	sigset_t all, before;
	if (registrar == NULL) {
		error_set(error, -ENOMEM, "no memory");
		return NULL;
	}
	registrar->settings = settings;
	pthread_mutex_init(&registrar->lock, NULL);
	pthread_cond_init(&registrar->wanted, NULL);
	registrar->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failure = registrar->fd >= 0 ? pthread_create(&registrar->thread, NULL, run, registrar) : errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failure == 0)
		return registrar;
	error_set(error, -failure, "the thread that adds peers: %s", strerror(failure));
	if (registrar->fd >= 0)
		close(registrar->fd);
	free(registrar);
	return NULL;
}

void registrar_free(struct registrar *registrar)
{
	struct registrar_job *job;
	if (registrar == NULL)
		return;
	pthread_mutex_lock(&registrar->lock);
	atomic_store_explicit(&registrar->ended, true, memory_order_relaxed);
	pthread_cond_signal(&registrar->wanted);
	pthread_mutex_unlock(&registrar->lock);
	(void)pthread_join(registrar->thread, NULL);
	while ((job = remove_first(&registrar->waiting)) != NULL || (job = remove_first(&registrar->done)) != NULL)
		registrar_job_free(job);
	close(registrar->fd);
	pthread_cond_destroy(&registrar->wanted);
	pthread_mutex_destroy(&registrar->lock);
	free(registrar);
}

bool registrar_has_room(struct registrar *registrar)
{
	size_t count = 0;
	pthread_mutex_lock(&registrar->lock);
	for (const struct registrar_job *job = registrar->waiting; job != NULL; job = job->next)
		count++;
	pthread_mutex_unlock(&registrar->lock);
	return count < WAITING_MAX;
}

void registrar_begin(struct registrar *registrar, struct registrar_job *job)
{
	pthread_mutex_lock(&registrar->lock);
	append(&registrar->waiting, job);
	pthread_cond_signal(&registrar->wanted);
	pthread_mutex_unlock(&registrar->lock);
}

int registrar_fd(const struct registrar *registrar)
{
	return registrar->fd;
}

struct registrar_job *registrar_take(struct registrar *registrar)
{
	eventfd_t count;
	pthread_mutex_lock(&registrar->lock);
	struct registrar_job *job = remove_first(&registrar->done);
	if (registrar->done == NULL)
		(void)eventfd_read(registrar->fd, &count);
	pthread_mutex_unlock(&registrar->lock);
	return job;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int split_networks(struct registrar_job *job, const char *list, struct error *error)
{
	struct registration *peer = &job->peer;
	char *rest = job->networks = list != NULL ? strdup(list) : NULL, *text;
	while ((text = rest != NULL ? strsep(&rest, ",") : NULL) != NULL) {
		if (peer->network_count == REGISTRATION_NETWORKS_MAX)
			return error_set(error, -EINVAL, "--allowed-ips: more than %d networks",
					 REGISTRATION_NETWORKS_MAX);
		peer->networks[peer->network_count++] = text;
	}
	return list != NULL && job->networks == NULL ? error_set(error, -ENOMEM, "no memory") : 0;
}

static int parse_reserved(const char *text, struct registration_pool *pool, struct error *error)
{
	char *end;
	while (text != NULL && *text != '\0') {
		unsigned long number = strtoul(text, &end, 10);
		if (end == text || (*end != ',' && *end != '\0') || number > UINT32_MAX ||
		    pool->reserved_count == REGISTRATION_RESERVED_MAX)
			return error_set(error, -EINVAL, "--reserved %.64s: no numbers with commas", text);
		pool->reserved[pool->reserved_count++] = (uint32_t)number;
		text = *end == ',' ? end + 1 : end;
	}
	return 0;
}

static int parse_add(struct registrar_job *job, size_t count, struct error *error)
{
	struct registration *peer = &job->peer;
	struct registration_limits *limits = &peer->limits;
	const char *networks = NULL, *index = NULL, *size = NULL, *reserved = NULL, *protocol = NULL;
	const struct word_option options[] = {{"--name", &peer->name},
					      {"--protocol", &protocol},
					      {"--allowed-ips", &networks},
					      {"--sealed-psk", &peer->psk},
					      {"--index", &index},
					      {"--pool", &size},
					      {"--reserved", &reserved},
					      {"--rate-up", &limits->rate_up},
					      {"--rate-down", &limits->rate_down},
					      {"--burst", &limits->burst},
					      {"--quota", &limits->quota},
					      {"--quota-rate", &limits->quota_rate}};
	int result = words_options(job->words + 2, count - 2, options, ARRAY_SIZE(options), error);
	if (result == 0)
		result = words_number("--index", index, &peer->index, error);
	if (result == 0)
		result = words_number("--pool", size, &job->pool.size, error);
	if (result == 0)
		result = parse_reserved(reserved, &job->pool, error);
	if (result == 0)
		result = split_networks(job, networks, error);
	peer->protocol = protocol != NULL ? protocol : "shardtun";
	return result == 0 ? registration_check(peer, error) : result;
}

static int copy_words(struct registrar_job *job, char *const *words, size_t count, struct error *error)
{
	job->words = calloc(count + 1, sizeof *job->words);
	bool copied = job->words != NULL;
	for (size_t i = 0; i < count && copied; i++) {
		job->words[i] = strdup(words[i]);
		copied = job->words[i] != NULL;
	}
	return copied ? 0 : error_set(error, -ENOMEM, "no memory");
}

struct registrar_job *registrar_job_new(char *const *words, size_t count, struct error *error)
{
	bool add = count >= 2 && strcmp(words[0], "add") == 0;
	if (!add && !(count == 2 && strcmp(words[0], "del") == 0)) {
		error_set(error, -EINVAL, "peer wants add or del, and the peer's public key");
		return NULL;
	}
	struct registrar_job *job = calloc(1, sizeof *job);
	if (job == NULL) {
		error_set(error, -ENOMEM, "no memory");
		return NULL;
	}
	job->add = add;
	int result = copy_words(job, words, count, error);
	if (result == 0)
		job->peer.key = job->words[1];
	if (result == 0 && add)
		result = parse_add(job, count, error);
	if (result == 0)
		return job;
	registrar_job_free(job);
	return NULL;
}

void registrar_job_free(struct registrar_job *job)
{
	if (job == NULL)
		return;
	for (char **word = job->words; word != NULL && *word != NULL; word++)
		free(*word);
	free(job->words);
	free(job->networks);
	free(job);
}
