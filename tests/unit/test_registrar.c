// SPDX-License-Identifier: Apache-2.0
/* Requests for peers on their way from the agent's control socket to etcd: what is refused before, and that the agent
 * can end while etcd does not answer. What etcd makes of them: tests/netns/cases/cluster_peers.sh. */
#include "core/agent/registrar.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

#include "tests/unit/control_words.h"

TestSuite(registrar, .timeout = 60);

#define KEY "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static struct registrar_job *job_of(const char *line, struct error *error)
{
	static struct control_words words;
	control_words_of(line, &words);
	struct registrar_job *job = registrar_job_new(words.words, words.count, error);
	memset(words.text, 'x', strlen(line)); /* the job has copies */
	return job;
}

Test(registrar, a_request_becomes_a_job)
{
	struct error error = {0};
	struct registrar_job *job = job_of("add " KEY
					   " --name ann --protocol wireguard --allowed-ips 10.1.0.0/16,fd01::/64 "
					   "--index 7 --pool 65536 --reserved 0,1,65535 --rate-up 8M --quota 1G/day",
					   &error);
	cr_assert_not_null(job, "%s", error.text);
	cr_assert(job->add);
	cr_assert_str_eq(job->peer.key, KEY);
	cr_assert_str_eq(job->peer.name, "ann");
	cr_assert_str_eq(job->peer.protocol, "wireguard");
	cr_assert_eq(job->peer.network_count, 2);
	cr_assert_str_eq(job->peer.networks[1], "fd01::/64");
	cr_assert_eq(job->peer.index, 7);
	cr_assert_eq(job->pool.size, 65536);
	cr_assert_eq(job->pool.reserved_count, 3);
	cr_assert_eq(job->pool.reserved[2], 65535);
	cr_assert_str_eq(job->peer.limits.rate_up, "8M");
	cr_assert_null(job->peer.limits.rate_down);
	registrar_job_free(job);
	job = job_of("del " KEY, &error);
	cr_assert_not_null(job, "%s", error.text);
	cr_assert_not(job->add);
	registrar_job_free(job);
}

Test(registrar, what_is_wrong_is_refused_before_etcd_is_asked)
{
	static const char *const wrong[][2] = {
		{"", "peer wants add or del"},
		{"add", "peer wants add or del"},
		{"del", "peer wants add or del"},
		{"del " KEY " more", "peer wants add or del"},
		{"add AAAA", "not a public key"},
		{"add " KEY " --colour red", "--colour: unexpected"},
		{"add " KEY " --name", "--name: a value is missing"},
		{"add " KEY " --name a --name b", "given twice"},
		{"add " KEY " --name a/b", "name a/b: "},
		{"add " KEY " --protocol ipsec", "the protocol is shardtun or wireguard"},
		{"add " KEY " --allowed-ips 10.1", "10.1: not a network"},
		{"add " KEY " --index many", "--index many: not a number"},
		{"add " KEY " --pool -1", "--pool -1: not a number"},
		{"add " KEY " --reserved 1,x", "--reserved x: no numbers"},
		{"add " KEY " --reserved 1,2,3,4,5", "--reserved 5: no numbers"},
		{"add " KEY " --rate-up fast", "rate fast: "},
		{"add " KEY " --burst 0", "burst 0: "},
		{"add " KEY " --quota 1G", "quota 1G: "},
		{"add " KEY " --sealed-psk AAAA", "the pre-shared key is not sealed"},
	};
	char many[2048] = "add " KEY " --allowed-ips 10.0.0.0/24";
	struct error error = {0};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		cr_expect_null(job_of(wrong[i][0], &error), "%s", wrong[i][0]);
		cr_expect_not_null(strstr(error.text, wrong[i][1]), "%s: %s", wrong[i][0], error.text);
	}
	for (size_t i = 1; i <= REGISTRATION_NETWORKS_MAX; i++)
		(void)snprintf(many + strlen(many), sizeof many - strlen(many), ",10.0.%zu.0/24", i);
	cr_assert_null(job_of(many, &error));
	cr_assert_not_null(strstr(error.text, "more than 32 networks"), "%s", error.text);
}

Test(registrar, ends_while_etcd_does_not_answer)
{
	static struct agent_settings settings = {
		.endpoints = {"http://127.0.0.1:1"}, .endpoint_count = 1, .prefix = "/p/"};
	struct error error = {0};
	struct registrar *registrar = registrar_new(&settings, &error);
	cr_assert_not_null(registrar, "%s", error.text);
	cr_assert_null(registrar_take(registrar));
	for (int i = 0; i < 3; i++)
		registrar_begin(registrar, job_of("del " KEY, &error));
	struct pollfd polled = {.fd = registrar_fd(registrar), .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, 300), 0);
	registrar_free(registrar);
}

Test(registrar, an_etcd_that_is_not_there_is_an_error_in_time)
{
	static struct agent_settings settings = {
		.endpoints = {"http://127.0.0.1:1"}, .endpoint_count = 1, .prefix = "/p/"};
	struct error error = {0};
	struct registrar *registrar = registrar_new(&settings, &error);
	registrar_begin(registrar, job_of("add " KEY, &error));
	struct pollfd polled = {.fd = registrar_fd(registrar), .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, 50000), 1);
	struct registrar_job *job = registrar_take(registrar);
	cr_assert_not_null(job);
	cr_assert_lt(job->code, 0);
	cr_assert_not_null(strstr(job->error.text, "etcd does not answer, so peers cannot be changed now: "), "%s",
			   job->error.text);
	cr_assert_not_null(strstr(job->error.text, "127.0.0.1:1"), "%s", job->error.text);
	registrar_job_free(job);
	registrar_free(registrar);
}
