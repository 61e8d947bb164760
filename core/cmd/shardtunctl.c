// SPDX-License-Identifier: Apache-2.0
/* Asks a running gateway or client over its control socket. */
#include "core/cli/ctl.h"
#include "core/cli/ctl_command.h"
#include "core/host/process.h"

static const char *const synopses[] = {
	"[--socket PATH] [--json] status | identity",
	"[--socket PATH] [--json] stages [--sampling N] [--raw] [--diff SECONDS|BEFORE [AFTER]]",
	"[--socket PATH] record [--interval SECONDS] [-n TIMES]",
	"[--socket PATH] [--json] top [--sort ORDER] [--filter TEXT] "
	"[--interval SECONDS] [-b [-n TIMES] [--count N]]",
	"[--socket PATH] [--json] sessions [--from SLOT] [--count N] [--peer KEY] "
	"[--address IP] [--state active|pending]",
	"[--socket PATH] [--json] kick ID|KEY",
	"[--socket PATH] [--json] peer add KEY [--name NAME [--save]] [--psk-file PATH] "
	"[--address IP] [--allowed-ips NETWORK,...]",
	"[--socket PATH] [--json] peer add --new NAME [--save] [--endpoint HOST[:PORT]] "
	"[--routes NETWORK,...|all] [--qr] [--address IP] [--allowed-ips NETWORK,...]",
	"[--socket PATH] [--json] peer del KEY",
	"[--socket PATH] [--json] reload",
	NULL};

static const struct cli_program program = {
	.name = "shardtunctl",
	.summary = "ask a running shardtun gateway or client",
	.synopses = synopses,
	.details = "  status          who it is, sessions, traffic, workers, what was dropped and why\n"
		   "  stages          how long each stage of the data path takes: quantiles in ns and cycles\n"
		   "  record          status and stages now and then, a line of JSON each, for perf/plot/recording.py\n"
		   "\n"
		   "Of a gateway:\n"
		   "  sessions        who is connected\n"
		   "  top             threads and the busiest sessions, live; of a client its threads only\n"
		   "  kick            end a session, by its ID or its peer's public key; the client may come back\n"
		   "  peer add, del   let a client in or remove one, until the next reload: that follows the files\n"
		   "  peer add --new  let one in whose keys are made here: prints its file, for 'shardtun run'\n"
		   "  identity        what clients' files need: public key, endpoint, networks\n"
		   "  reload          read the configuration again; peers and LogLevel follow it\n"
		   "\n"
		   "  -s, --socket PATH   the control socket (default: the only *.sock in " CTL_DIRECTORY ")\n"
		   "  -c, --config FILE   the gateway's configuration: who may answer, and what peer add --new and\n"
		   "                      --save go by (default: " CTL_GATEWAY_CONFIG ")\n"
		   "  -j, --json          the daemon's answer as it is, for scripts\n"
		   "\n"
		   "      --sampling N    stages: from now on time one batch in N, 0: none, until the next start\n"
		   "      --raw           stages: JSON with the histograms' buckets, to be compared later\n"
		   "      --diff SECONDS  stages: only what comes in so many seconds from now\n"
		   "      --diff BEFORE [AFTER]\n"
		   "                      stages: only what came between two files of --raw; without AFTER until now\n"
		   "      --interval SECONDS\n"
		   "                      top, record: how often (default: 1)\n"
		   "  -n, --times N       top, record: end after so many (default: never)\n"
		   "  -b, --batch         top: plain text, one after the other; with --json a line of JSON each\n"
		   "      --sort ORDER    top: bits, rx, tx, packets, bytes, seen, age or roams (default: bits)\n"
		   "      --filter TEXT   top: only sessions with it in key, addresses, endpoint or ID\n"
		   "      --from SLOT     sessions: go on from there, as the last list said\n"
		   "      --count N       sessions, top: at most so many (default: all; top -b: 20)\n"
		   "      --peer KEY      sessions: of this peer only\n"
		   "      --address IP    sessions: with this inner address only; peer add: keep it for the peer\n"
		   "      --state STATE   sessions: active or pending only\n"
		   "      --psk-file PATH peer add: pre-shared key; the daemon reads it: an absolute path\n"
		   "      --allowed-ips NETWORK,...\n"
		   "                      peer add: networks behind the peer\n"
		   "      --name NAME     peer add: what lists and logs call it\n"
		   "      --save          peer add: also write PeersDirectory/NAME.conf, so that it stays\n"
		   "      --new NAME      peer add: make private and pre-shared key, print the client's file\n"
		   "      --endpoint HOST[:PORT]\n"
		   "                      --new: where the client finds the gateway (default: PublicEndpoint)\n"
		   "      --routes NETWORK,...|all\n"
		   "                      --new: what the client reaches by us (default: the gateway's networks)\n"
		   "      --qr            --new: its QR code as well, as always in a terminal\n",
};

int main(int argc, char **argv)
{
	enum cli_status status;
	process_begin();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;

	struct ctl_options options = {0};
	int option;
	while ((option = getopt_long(argc, argv, ":s:c:jbn:", ctl_long_options, NULL)) != -1) {
		if (option >= CTL_FROM)
			options.values[option - CTL_FROM] = optarg != NULL ? optarg : "";
		else if (option == 'b')
			options.values[CTL_BATCH - CTL_FROM] = "";
		else if (option == 'n')
			options.values[CTL_TIMES - CTL_FROM] = optarg;
		else if (option == 's')
			options.socket = optarg;
		else if (option == 'c')
			options.config = optarg;
		else if (option == 'j')
			options.json = true;
		else if (option == ':')
			return (int)cli_usage_error(&program, "%s needs a value", argv[optind - 1]);
		else if (optopt != 0)
			return (int)cli_usage_error(&program, "-%c is no option", optopt);
		else
			return (int)cli_usage_error(&program, "%s is no option", argv[optind - 1]);
	}
	return (int)ctl_run(&program, &options, argv + optind, argc - optind);
}
