// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/threads.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "workers/freeze.h"

enum {
	GATEWAY_COPIES = 256, /* datagrams that wait for a thread which others received for it */
	GATEWAY_HANDSHAKE_NICE = 10,
	GATEWAY_FEW_CPUS = 4, /* so few are shared by all threads */
};
#define GATEWAY_SPIN_NS	  (50 * NS_PER_US)
#define GATEWAY_NAP_MOST  NS_PER_MS
#define GATEWAY_BUDGET_NS (HANDSHAKER_WINDOW_NS / 2)

static size_t group_size(const struct gateway_threads *threads)
{
	return threads->plan.workers + threads->plan.handshakers;
}

/* Whether there will be second sockets has to be clear before the group is opened. */
void gateway_threads_want_sockets(struct gateway_threads *threads, const struct registry *registry,
				  struct daemon_params *params)
{
	const struct cpu_plan *plan = &threads->plan;
	threads->handoff.steering = (struct steering){.workers = plan->workers,
						      .handshakers = plan->handshakers,
						      .slot_mask = registry->table.sharding.slot_mask};
	threads->sparse_result = sparse_sessions_load(&threads->sparse, &threads->handoff.steering);
	params->sockets = group_size(threads) + (threads->sparse_result == 0 ? plan->workers : 0);
}

void gateway_threads_want_none(struct gateway_threads *threads)
{
	sparse_sessions_unload(&threads->sparse);
}

/* Readers' queues come first, and a worker has one to write to; without readers it reads that one too. */
void gateway_threads_want_queues(struct gateway_threads *threads, const struct pool *pool, struct daemon_params *params)
{
	const struct cpu_plan *plan = &threads->plan;
	unsigned read = plan->readers != 0 ? plan->readers : plan->workers;
	threads->first_queue = plan->readers;
	params->tun_readers = plan->readers != 0 ? plan->readers : 1;
	params->tun_writers = plan->readers + plan->workers - params->tun_readers;
	params->tun_sparse = true;
	params->tun_destinations = pool->size;
	if (params->tun_writers != 0)
		params->tun_steering = (struct queue_steering){
			.queues = read, .base4 = pool->base4, .base6 = pool->base6};
}

void gateway_threads_take_queues(struct gateway_threads *threads, const struct tun_device *device)
{
	if (device->steering == 0 || threads->plan.readers != 0)
		return;
	log_info("%s: the kernel does not steer packets to the workers' queues (%s%s): a TUN reader passes them on",
		 device->name, strerror(-device->steering),
		 device->steering == -EPERM ? "; this takes CAP_BPF at the start" : "");
	cpu_plan_add_reader(&threads->plan);
}

static int allocate(struct gateway_threads *threads, struct error *error)
{
	const struct cpu_plan *plan = &threads->plan;
	size_t group = group_size(threads);
	threads->copies = calloc(group, sizeof(struct copy_ring *));
	threads->engines = calloc(group, sizeof(struct aead_engine *));
	threads->handoff.targets = calloc(group, sizeof *threads->handoff.targets);
	threads->roles = calloc(plan->workers, sizeof *threads->roles);
	threads->workers = calloc(plan->workers, sizeof(struct worker *));
	threads->inboxes = calloc(plan->workers, sizeof(struct inbox *));
	threads->wakers = calloc(plan->workers, sizeof(struct waker *));
	threads->readers = calloc(plan->readers + 1, sizeof(struct tun_reader *));
	threads->handshakers = calloc(plan->handshakers, sizeof(struct handshaker *));
	threads->initiators = calloc(plan->handshakers, sizeof(struct inbox *));
	bool all = threads->copies != NULL && threads->engines != NULL && threads->handoff.targets != NULL &&
		   threads->roles != NULL && threads->workers != NULL && threads->inboxes != NULL &&
		   threads->wakers != NULL && threads->readers != NULL && threads->handshakers != NULL &&
		   threads->initiators != NULL;
	return all ? 0 : error_set(error, -ENOMEM, "threads: out of memory");
}

/* What every thread of the reuseport group has. */
static int open_member(struct gateway_threads *threads, const struct gateway_threads_params *params, size_t i,
		       struct error *error)
{
	threads->engines[i] = aead_engine_new(params->daemon->params.common->crypto_backend, error);
	if (threads->engines[i] == NULL)
		return -EIO;
	threads->copies[i] = copy_ring_new(GATEWAY_COPIES, params->datagram_max, error);
	return threads->copies[i] != NULL ? 0 : -ENOMEM;
}

static uint64_t nap(const struct gateway_threads *threads, const struct cpu_list *cpus)
{
	uint64_t each = (threads->plan.workers + cpus->share - 1) / cpus->share;
	return WORKER_NAP_NS * each < GATEWAY_NAP_MOST ? WORKER_NAP_NS * each : GATEWAY_NAP_MOST;
}

static uint64_t budget(const struct cpu_list *cpus)
{
	return cpus->share <= GATEWAY_FEW_CPUS ? GATEWAY_BUDGET_NS : 0;
}

static int open_worker(struct gateway_threads *threads, const struct gateway_threads_params *params, unsigned i,
		       struct error *error)
{
	struct daemon *daemon = params->daemon;
	const struct cpu_plan *plan = &threads->plan;
	threads->roles[i] = *params->role;
	gateway_role_limits(&threads->roles[i], plan->workers);
	threads->roles[i].initiators = params->common->wireguard != NULL ? threads->initiators : NULL;
	threads->roles[i].initiator_count = plan->handshakers;
	event_source_init(&threads->roles[i].events, params->common->events, plan->workers);
	struct worker_params worker = {
		.index = i,
		.udp = daemon->descriptors.sockets[i],
		.tun = &daemon->descriptors.device.queues[threads->first_queue + i],
		.aead = threads->engines[i],
		.clock = daemon->clock,
		.role = &gateway_worker_role,
		.role_state = &threads->roles[i],
		.table = &params->registry->table,
		.handoff = &threads->handoff,
		.copies = threads->copies[i],
		.shares = threads->shares.members != 0 ? &threads->shares : NULL,
		.sparse = threads->sparse.members != 0 ? &threads->sparse : NULL,
		.sparse_udp = threads->sparse.members != 0 ? daemon->descriptors.sockets[group_size(threads) + i]
							   : NULL,
		.reads_tun = plan->readers == 0,
		.sources = plan->readers != 0 ? plan->readers : plan->workers - 1,
		.wakers = plan->readers == 0 && plan->workers > 1 ? threads->wakers : NULL,
		.spin = plan->spin ? GATEWAY_SPIN_NS : 0,
		.nap = nap(threads, params->cpus),
		.stage_sampling = daemon->params.common->stage_sampling,
		.ticks_per_second = (uint64_t)daemon->tsc.hz,
	};
	threads->workers[i] = worker_new(&worker, error);
	if (threads->workers[i] == NULL)
		return -EIO;
	threads->inboxes[i] = &threads->workers[i]->inbox;
	threads->wakers[i] = &threads->workers[i]->loop.waker;
	threads->handoff.targets[i] = (struct handoff_target){threads->copies[i], threads->wakers[i]};
	return 0;
}

/* Workers that read the TUN pass frames to each other. */
static void connect_workers(struct gateway_threads *threads)
{
	for (unsigned w = 0; w < threads->plan.workers; w++) {
		size_t source = 0;
		for (unsigned other = 0; other < threads->plan.workers; other++) {
			if (other == w)
				continue;
			const struct worker_source ring = {.ring = worker_ring(threads->workers[other], w)};
			worker_set_source(threads->workers[w], source++, &ring);
		}
	}
}

static int open_reader(struct gateway_threads *threads, const struct gateway_threads_params *params, unsigned i,
		       struct error *error)
{
	struct daemon *daemon = params->daemon;
	struct tun_reader_params reader = {
		.tun = &daemon->descriptors.device.queues[i],
		.clock = daemon->clock,
		.registry = params->registry,
		.wakers = threads->wakers,
		.stage_sampling = daemon->params.common->stage_sampling,
		.ticks_per_second = (uint64_t)daemon->tsc.hz,
	};
	threads->readers[i] = tun_reader_new(&reader, error);
	if (threads->readers[i] == NULL)
		return -EIO;
	const struct frame_dispatch *dispatch = &threads->readers[i]->dispatch;
	for (unsigned w = 0; w < threads->plan.workers; w++) {
		const struct worker_source rings = {.ring = frame_dispatch_ring(dispatch, w),
						    .sparse = frame_dispatch_sparse_ring(dispatch, w),
						    .busy = &threads->readers[i]->busy};
		worker_set_source(threads->workers[w], i, &rings);
	}
	return 0;
}

static int open_handshaker(struct gateway_threads *threads, const struct gateway_threads_params *params, unsigned i,
			   struct error *error)
{
	struct daemon *daemon = params->daemon;
	size_t member = threads->plan.workers + i;
	struct handshaker_params handshaker = {
		.common = &threads->common,
		.udp = daemon->descriptors.sockets[member],
		.aead = threads->engines[member],
		.clock = daemon->clock,
		.handoff = &threads->handoff,
		.copies = threads->copies[member],
		.ephemerals = HANDSHAKER_EPHEMERALS,
		.budget = budget(params->cpus),
		.stage_sampling = daemon->params.common->stage_sampling,
		.ticks_per_second = (uint64_t)daemon->tsc.hz,
	};
	udp_receive_buffer(handshaker.udp, HANDSHAKER_BUFFER);
	threads->handshakers[i] = handshaker_new(&handshaker, error);
	if (threads->handshakers[i] == NULL)
		return -EIO;
	threads->initiators[i] = &threads->handshakers[i]->inbox;
	threads->handoff.targets[member] = (struct handoff_target){threads->copies[member],
								   &threads->handshakers[i]->loop.waker};
	return 0;
}

/* A page lies on the memory node of the CPU that writes to it first, and what is made here is filled here: so this
 * thread is on a thread's CPU while it makes what that one will own. */
static void go_to(int cpu, const struct cpu_list *cpus)
{
	if (cpu == CPU_FLOATS || cpu_pin(cpu) != 0)
		(void)cpu_float(cpus);
}

static int open_each(struct gateway_threads *threads, const struct gateway_threads_params *params, struct error *error)
{
	const struct cpu_plan *plan = &threads->plan;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < plan->workers; i++) {
		go_to(plan->worker_cpus[i], params->cpus);
		result = open_member(threads, params, i, error);
		if (result == 0)
			result = open_worker(threads, params, i, error);
	}
	if (result == 0 && plan->readers == 0)
		connect_workers(threads);
	for (unsigned i = 0; result == 0 && i < plan->readers; i++) {
		go_to(plan->reader_cpus[i], params->cpus);
		result = open_reader(threads, params, i, error);
	}
	for (unsigned i = 0; result == 0 && i < plan->handshakers; i++) {
		go_to(plan->handshaker_cpus[i], params->cpus);
		result = open_member(threads, params, plan->workers + i, error);
		if (result == 0)
			result = open_handshaker(threads, params, i, error);
	}
	go_to(CPU_FLOATS, params->cpus);
	return result;
}

static void detach_shares(const struct gateway_threads *threads, struct udp_socket *const *sockets)
{
	for (unsigned i = 0; i < threads->plan.workers; i++)
		session_shares_detach(sockets[i]);
}

static void report_shares(int result)
{
	log_info("UDP: a client that sends too much costs others packets (%s%s)", strerror(-result),
		 result == -EPERM ? "; else this takes CAP_BPF at the start" : "");
}

static int attach_shares(struct gateway_threads *threads, struct udp_socket *const *sockets)
{
	int result = 0;
	for (unsigned i = 0; result == 0 && i < threads->plan.workers; i++)
		result = session_shares_attach(&threads->shares, i, sockets[i]);
	session_shares_close_programs(&threads->shares);
	return result;
}

/* Without it a client that sends too much costs the others of its worker datagrams. */
static void share_sockets(struct gateway_threads *threads, const struct gateway_threads_params *params)
{
	struct udp_socket *const *sockets = params->daemon->descriptors.sockets;
	int result = session_shares_open(&threads->shares, &params->registry->table.sharding);
	for (unsigned i = 0; result == 0 && i < threads->plan.workers; i++)
		result = session_shares_load(&threads->shares, i, sockets[i]);
	if (result == 0 && !params->attach_later)
		result = attach_shares(threads, sockets);
	if (result == 0)
		return;
	if (!params->attach_later)
		detach_shares(threads, sockets);
	session_shares_close(&threads->shares);
	report_shares(result);
}

static int steer_group(struct gateway_threads *threads, int fd, struct error *error)
{
	if (threads->sparse_result == 0)
		threads->sparse_result = sparse_sessions_attach(&threads->sparse, fd);
	return threads->sparse_result == 0 ? 0 : steering_attach(fd, &threads->handoff.steering, error);
}

/* The group of each address. */
static int steer_sockets(struct gateway_threads *threads, struct udp_socket *socket, struct error *error)
{
	const struct udp_socket *member;
	int result = 0;
	for (size_t i = 0; result == 0 && (member = udp_member(socket, i)) != NULL; i++)
		result = steer_group(threads, member->fd, error);
	sparse_sessions_close_program(&threads->sparse);
	if (result == 0 && threads->sparse_result != 0)
		log_info("UDP: sessions that send little wait behind those of others (%s%s)",
			 strerror(-threads->sparse_result),
			 threads->sparse_result == -EPERM ? "; else this takes CAP_BPF at the start" : "");
	return result;
}

int gateway_threads_open(struct gateway_threads *threads, const struct gateway_threads_params *params,
			 struct error *error)
{
	const struct cpu_plan *plan = &threads->plan;
	threads->common = *params->common;
	threads->common.share = plan->handshakers;
	threads->handoff.table = &params->registry->table;
	int result = allocate(threads, error);
	threads->common.inboxes = threads->inboxes;
	if (result == 0)
		share_sockets(threads, params);
	if (result == 0)
		result = open_each(threads, params, error);
	if (result == 0 && !params->attach_later)
		result = steer_sockets(threads, params->daemon->descriptors.sockets[0], error);
	threads->common.capabilities = wire_capabilities(threads->sparse_result == 0,
							 params->daemon->descriptors.device.sparse != 0);
	if (result != 0)
		gateway_threads_close(threads);
	return result;
}

/* Workers were made for shares, and for second sockets, or without: that cannot change any more. */
int gateway_threads_attach(struct gateway_threads *threads, struct daemon *daemon, struct error *error)
{
	struct udp_socket *const *sockets = daemon->descriptors.sockets;
	int expected = threads->sparse_result;
	if (threads->shares.members == 0)
		detach_shares(threads, sockets);
	else if (attach_shares(threads, sockets) != 0)
		return error_set(error, -EIO, "UDP: cannot attach a program to the sockets");
	int result = steer_sockets(threads, sockets[0], error);
	if (result == 0 && threads->sparse_result != expected)
		result = error_set(error, threads->sparse_result, "UDP: cannot attach a program to the group: %s",
				   strerror(-threads->sparse_result));
	return result == 0 ? tun_device_attach(&daemon->descriptors.device, error) : result;
}

void gateway_threads_close(struct gateway_threads *threads)
{
	/* The last that workers do may be to demand an initiation. */
	for (unsigned i = 0; threads->initiators != NULL && i < threads->plan.handshakers; i++)
		threads->initiators[i] = NULL;
	for (unsigned i = 0; threads->handshakers != NULL && i < threads->plan.handshakers; i++)
		handshaker_free(threads->handshakers[i]);
	for (unsigned i = 0; threads->workers != NULL && i < threads->plan.workers; i++)
		worker_free(threads->workers[i]);
	for (unsigned i = 0; threads->readers != NULL && i < threads->plan.readers; i++)
		tun_reader_free(threads->readers[i]);
	for (size_t i = 0; i < group_size(threads); i++) {
		if (threads->copies != NULL)
			copy_ring_free(threads->copies[i]);
		if (threads->engines != NULL)
			aead_engine_free(threads->engines[i]);
	}
	session_shares_close(&threads->shares);
	sparse_sessions_unload(&threads->sparse);
	free(threads->initiators);
	free(threads->handshakers);
	free(threads->readers);
	free(threads->wakers);
	free(threads->inboxes);
	free(threads->workers);
	free(threads->roles);
	free(threads->handoff.targets);
	free(threads->engines);
	free(threads->copies);
	struct cpu_plan plan = threads->plan;
	*threads = (struct gateway_threads){.plan = plan, .sparse = {.program = -1}};
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static void run_worker(void *worker)
{
	worker_run(worker);
}

static void run_reader(void *reader)
{
	tun_reader_run(reader);
}

static void run_handshaker(void *handshaker)
{
	handshaker_run(handshaker);
}

static int start(struct daemon *daemon, struct thread_params *params, const char *kind, unsigned i, struct error *error)
{
	(void)snprintf(params->name, sizeof params->name, "%s %u", kind, i);
	return threads_start(&daemon->threads, params, error);
}

int gateway_threads_start(struct gateway_threads *threads, struct daemon *daemon, struct error *error)
{
	const struct cpu_plan *plan = &threads->plan;
	enum cpu_priority priority = daemon->params.common->cpu_priority;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < plan->workers; i++) {
		struct worker *worker = threads->workers[i];
		struct thread_params params = {.cpu = plan->worker_cpus[i],
					       .priority = priority,
					       .run = run_worker,
					       .object = worker,
					       .loop = &worker->loop};
		result = start(daemon, &params, "worker", i, error);
	}
	for (unsigned i = 0; result == 0 && i < plan->readers; i++) {
		struct tun_reader *reader = threads->readers[i];
		struct thread_params params = {.cpu = plan->reader_cpus[i],
					       .priority = priority,
					       .run = run_reader,
					       .object = reader,
					       .loop = &reader->loop};
		result = start(daemon, &params, "reader", i, error);
	}
	for (unsigned i = 0; result == 0 && i < plan->handshakers; i++) {
		struct handshaker *handshaker = threads->handshakers[i];
		struct thread_params params = {.cpu = plan->handshaker_cpus[i],
					       .nice = GATEWAY_HANDSHAKE_NICE,
					       .run = run_handshaker,
					       .object = handshaker,
					       .loop = &handshaker->loop};
		result = start(daemon, &params, "handshake", i, error);
	}
	return result;
}

/* The loops of a kind of threads, in an array that has room for all. */
static struct freeze_kind loops_of(const struct daemon *daemon, void (*run)(void *), struct event_loop **loops)
{
	size_t count = 0;
	for (size_t i = 0; i < daemon->threads.count; i++) {
		if (daemon->threads.list[i].params.run == run)
			loops[count++] = daemon->threads.list[i].params.loop;
	}
	return (struct freeze_kind){loops, count};
}

/* `threads` are to be frozen now; NULL: they were from their start on. */
static bool stand_still(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit)
{
	struct event_loop **loops = calloc(daemon->threads.count + 1, sizeof(struct event_loop *));
	if (loops == NULL)
		return false;
	struct freeze_kind kinds[GATEWAY_THREADS_KINDS];
	kinds[0] = loops_of(daemon, run_handshaker, loops);
	kinds[1] = loops_of(daemon, run_reader, loops + kinds[0].count);
	kinds[2] = loops_of(daemon, run_worker, loops + kinds[0].count + kinds[1].count);
	rcu_offline();
	bool still = threads == NULL ? freeze_wait(kinds, GATEWAY_THREADS_KINDS, daemon->clock, limit)
				     : freeze(kinds, GATEWAY_THREADS_KINDS, threads->workers, threads->plan.workers,
					      daemon->clock, limit);
	rcu_online();
	free(loops);
	return still;
}

bool gateway_threads_freeze(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit)
{
	return stand_still(threads, daemon, limit);
}

bool gateway_threads_freeze_handshakes(const struct daemon *daemon, uint64_t limit)
{
	struct event_loop **loops = calloc(daemon->threads.count + 1, sizeof(struct event_loop *));
	if (loops == NULL)
		return false;
	const struct freeze_kind handshakers = loops_of(daemon, run_handshaker, loops);
	rcu_offline();
	bool still = freeze(&handshakers, 1, NULL, 0, daemon->clock, limit);
	rcu_online();
	free(loops);
	return still;
}

bool gateway_threads_freeze_worker(struct worker *worker, const struct clock *clock, uint64_t limit)
{
	struct event_loop *loop = &worker->loop;
	const struct freeze_kind kind = {&loop, 1};
	rcu_offline();
	bool still = freeze(&kind, 1, NULL, 0, clock, limit);
	rcu_online();
	if (still)
		(void)worker_settle(worker);
	return still;
}

bool gateway_threads_wait_parked(const struct daemon *daemon, uint64_t limit)
{
	return stand_still(NULL, daemon, limit);
}

void gateway_threads_thaw(const struct daemon *daemon)
{
	/* As they were started, workers first: what is given to a thread finds it awake. */
	for (size_t i = 0; i < daemon->threads.count; i++)
		event_loop_thaw(daemon->threads.list[i].params.loop);
}

void gateway_threads_park(struct gateway_threads *threads)
{
	const struct cpu_plan *plan = &threads->plan;
	for (unsigned i = 0; i < plan->workers; i++)
		event_loop_freeze(&threads->workers[i]->loop);
	for (unsigned i = 0; i < plan->readers; i++)
		event_loop_freeze(&threads->readers[i]->loop);
	for (unsigned i = 0; i < plan->handshakers; i++)
		event_loop_freeze(&threads->handshakers[i]->loop);
}

void gateway_threads_leave(struct gateway_threads *threads)
{
	for (unsigned i = 0; i < threads->plan.workers; i++)
		atomic_store_explicit(&threads->roles[i].leaving, true, memory_order_relaxed);
}

void gateway_threads_share(struct gateway_threads *threads, const struct cpu_list *cpus, const bool *alone)
{
	for (unsigned i = 0; i < threads->plan.workers; i++)
		worker_set_waiting(threads->workers[i], alone[i] ? GATEWAY_SPIN_NS : 0, nap(threads, cpus));
	for (unsigned i = 0; i < threads->plan.handshakers; i++)
		handshaker_set_budget(threads->handshakers[i], budget(cpus));
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static int tell(struct gateway_threads *threads, const struct registry *registry, const struct inbox_message *from)
{
	struct inbox_message *message = malloc(sizeof *message);
	if (message == NULL)
		return -ENOMEM;
	*message = *from;
	inbox_post(threads->inboxes[session_shard(&registry->table.sharding, from->session_id)], message);
	return 0;
}

int gateway_threads_end_session(struct gateway_threads *threads, const struct registry *registry, uint32_t session_id,
				enum wire_bye_reason reason)
{
	const struct inbox_message message = {.kind = INBOX_END, .session_id = session_id, .end.reason = reason};
	return tell(threads, registry, &message);
}

int gateway_threads_limit_session(struct gateway_threads *threads, const struct registry *registry, uint32_t session_id)
{
	const struct inbox_message message = {.kind = INBOX_LIMITS, .session_id = session_id};
	return tell(threads, registry, &message);
}

int gateway_threads_stand(struct gateway_threads *threads, const struct registry *registry,
			  const struct registry_grant *grant)
{
	const struct inbox_message message = {
		.kind = INBOX_STAND, .session_id = grant->session_id, .stand.made = grant->made};
	return tell(threads, registry, &message);
}

uint32_t gateway_threads_active(const struct gateway_threads *threads)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < threads->plan.workers; i++)
		sum += atomic_load_explicit(&threads->roles[i].active, memory_order_relaxed);
	return sum;
}

uint32_t gateway_threads_wireguard(const struct gateway_threads *threads)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < threads->plan.workers; i++)
		sum += atomic_load_explicit(&threads->roles[i].wireguard, memory_order_relaxed);
	return sum;
}

uint64_t gateway_threads_suppressed(const struct gateway_threads *threads, enum event_kind kind)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < threads->plan.workers; i++)
		sum += atomic_load_explicit(&threads->roles[i].events.suppressed[kind], memory_order_relaxed);
	for (unsigned i = 0; i < threads->plan.handshakers; i++)
		sum += atomic_load_explicit(&threads->handshakers[i]->events.suppressed[kind], memory_order_relaxed);
	return sum;
}
