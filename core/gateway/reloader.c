// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/reloader.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/host/launch.h"

struct reloader {
	struct gateway_running *running;
	pthread_t thread;
	sem_t wanted;  /* the thread reads, or ends */
	sem_t applied; /* it frees what it read */
	int fd;	       /* it has read */
	_Atomic bool ended;
	/* The thread's but between its word and `applied`. */
	struct gateway_reload reload;
	struct reloader_job job;   /* `read` is NULL: the configuration */
	bool unread;		   /* it was not begun */
	struct reloader_job later; /* control thread: `read` is NULL: none waits */
	/* control thread */
	bool busy;
	bool again;			   /* a request came after the reading had begun */
	struct reloader_waiting now, next; /* for this reading, and for one more */
};

static void wait_for(sem_t *semaphore)
{
	rcu_offline();
	while (sem_wait(semaphore) != 0)
		; /* EINTR */
	rcu_online();
}

static void read_and_free(struct reloader *reloader)
{
	/* After `applied` the next job may be written there. */
	const struct reloader_job job = reloader->job;
	reloader->unread = false;
	if (job.read != NULL)
		job.read(job.context);
	else
		gateway_reload_read(reloader->running, &reloader->reload);
	(void)eventfd_write(reloader->fd, 1);
	wait_for(&reloader->applied);
	if (job.read != NULL)
		job.free(job.context);
	else
		gateway_reload_free(&reloader->reload);
}

static void *run(void *context)
{
	struct reloader *reloader = context;
	rcu_join();
	for (;;) {
		wait_for(&reloader->wanted);
		if (atomic_load_explicit(&reloader->ended, memory_order_relaxed))
			break;
		read_and_free(reloader);
	}
	rcu_leave();
	return NULL;
}

struct reloader *reloader_new(const char *name, struct gateway_running *running, const struct seccomp_filter *filter,
			      struct error *error)
{
	struct reloader *reloader = calloc(1, sizeof *reloader);
	if (reloader == NULL) {
		error_set(error, -ENOMEM, "thread '%s': out of memory", name);
		return NULL;
	}
	reloader->running = running;
	(void)sem_init(&reloader->wanted, 0, 0); /* cannot fail with these arguments */
	(void)sem_init(&reloader->applied, 0, 0);
	reloader->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct launch launch = {.name = name, .filter = filter, .run = run, .context = reloader};
	int result = reloader->fd >= 0 ? launch_thread(&launch, &reloader->thread, error)
				       : error_set(error, -errno, "thread '%s': %s", name, strerror(errno));
	if (result == 0)
		return reloader;
	if (reloader->fd >= 0)
		close(reloader->fd);
	free(reloader);
	return NULL;
}

void reloader_free(struct reloader *reloader)
{
	if (reloader == NULL)
		return;
	atomic_store_explicit(&reloader->ended, true, memory_order_relaxed);
	(void)sem_post(&reloader->applied); /* the thread waits for one or the other */
	(void)sem_post(&reloader->wanted);
	rcu_offline(); /* the thread may wait for a grace period */
	(void)pthread_join(reloader->thread, NULL);
	rcu_online();
	if (reloader->unread && reloader->job.free != NULL)
		reloader->job.free(reloader->job.context);
	if (reloader->later.free != NULL)
		reloader->later.free(reloader->later.context);
	(void)sem_destroy(&reloader->wanted);
	(void)sem_destroy(&reloader->applied);
	close(reloader->fd);
	free(reloader);
}

static void begin(struct reloader *reloader, const struct reloader_job *job)
{
	reloader->job = *job;
	reloader->unread = reloader->busy = true;
	(void)sem_post(&reloader->wanted);
}

static const struct reloader_job configuration = {0};

bool reloader_takes_job(const struct reloader *reloader)
{
	return reloader != NULL && reloader->later.read == NULL;
}

void reloader_begin(struct reloader *reloader, const struct reloader_job *job)
{
	if (reloader->busy)
		reloader->later = *job;
	else
		begin(reloader, job);
}

void reloader_ask(struct reloader *reloader, const struct control_ticket *ticket)
{
	struct reloader_waiting *waiting = reloader->busy ? &reloader->next : &reloader->now;
	/* A connection that was closed leaves its ticket, so there can be more tickets than connections. */
	if (ticket != NULL && waiting->count < ARRAY_SIZE(waiting->tickets))
		waiting->tickets[waiting->count++] = *ticket;
	reloader->again |= reloader->busy;
	if (!reloader->busy)
		begin(reloader, &configuration);
}

bool reloader_busy(const struct reloader *reloader)
{
	return reloader != NULL && reloader->busy;
}

bool reloader_reads(const struct reloader *reloader)
{
	return reloader_busy(reloader) && reloader->job.read == NULL;
}

int reloader_fd(const struct reloader *reloader)
{
	return reloader->fd;
}

/* The tickets of what was applied, and the next reading. */
static struct reloader_waiting finish(struct reloader *reloader)
{
	const struct reloader_waiting waiting = reloader->now;
	(void)sem_post(&reloader->applied);
	reloader->busy = false;
	if (reloader->later.read != NULL) {
		const struct reloader_job job = reloader->later;
		reloader->later = configuration;
		/* Requests for the configuration wait on. */
		reloader->now.count = 0;
		begin(reloader, &job);
		return waiting;
	}
	reloader->now = reloader->next;
	reloader->next.count = 0;
	if (reloader->again)
		begin(reloader, &configuration);
	reloader->again = false;
	return waiting;
}

static void apply_job(struct reloader *reloader)
{
	if (reloader->job.apply(reloader->job.context))
		(void)finish(reloader);
	else
		(void)eventfd_write(reloader->fd, 1);
}

void reloader_apply_job(struct reloader *reloader)
{
	eventfd_t count;
	if (eventfd_read(reloader->fd, &count) == 0)
		apply_job(reloader);
}

bool reloader_apply(struct reloader *reloader, int *code, struct gateway_reload_result *result,
		    struct reloader_waiting *waiting, struct error *error)
{
	eventfd_t count;
	if (eventfd_read(reloader->fd, &count) != 0)
		return false;
	const struct reloader_job *job = &reloader->job;
	if (job->read == NULL) {
		*code = gateway_reload_apply(reloader->running, &reloader->reload, result, error);
		*waiting = finish(reloader);
		return true;
	}
	apply_job(reloader);
	return false;
}
