// SPDX-License-Identifier: Apache-2.0
#include <curses.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/printable.h"
#include "core/cli/ctl_top.h"

enum {
	WAIT_MS = 100, /* for a key: bounds the time until a signal is noticed */
	SOON_MS = 250, /* between samples until there are rates */
	KEY_ESCAPE = 27,
	WIDTH_LEAST = 40,
	SESSIONS_LEAST = 3,
};

static volatile sig_atomic_t ended_by;

static void note_signal(int number)
{
	ended_by = number;
}

struct screen {
	struct ctl_top *top;
	bool paused, help, typing, done;
	uint64_t due;				      /* of the next sample, monotonic ns */
	char failure[sizeof((struct error){0}).text]; /* of the last sample, or "" */
	char typed[CTL_TOP_FILTER_MAX];
};

/* --- drawing ------------------------------------------------------------------------------------------------------ */

static const char help_text[] =
	"\n"
	"Sessions are sorted by, the largest first:\n"
	"  b  bits a second, both ways     p  packets a second     s  last seen\n"
	"  r  received from the client     y  bytes in all         a  age\n"
	"  t  sent to the client           o  roams                < >  the order before, after\n"
	"\n"
	"  /          filter: a text in name, key, addresses, endpoint or ID, among the first 1000\n"
	"  arrows     scroll by a line; Page: by a screen; Home: to the beginning\n"
	"  space      pause and continue\n"
	"  + -        sample more or less often\n"
	"  h ?        show and hide this help\n"
	"  q          quit\n";

static void draw_line(int y, const char *text, size_t length)
{
	bool heading = length != 0 && text[0] == CTL_TOP_HEADING;
	move(y, 0);
	if (heading)
		attron(A_REVERSE);
	addnstr(text + (heading ? 1 : 0), (int)length - (heading ? 1 : 0));
	for (int x = getcurx(stdscr); heading && getcury(stdscr) == y && x < COLS - 1; x++)
		addch(' ');
	attroff(A_REVERSE);
}

static void draw_text(const char *text)
{
	for (int y = 0; y < LINES - 1 && *text != '\0'; y++) {
		size_t length = strcspn(text, "\n");
		draw_line(y, text, length);
		text += length + (text[length] == '\n' ? 1 : 0);
	}
}

static void draw_bottom(const struct screen *screen)
{
	const struct ctl_top_view *view = &screen->top->view;
	char line[512];
	if (screen->typing)
		(void)snprintf(line, sizeof line, "filter: %s", screen->typed);
	else if (screen->failure[0] != '\0')
		(void)snprintf(line, sizeof line, "%s", screen->failure);
	else
		(void)snprintf(line, sizeof line,
			       "%sby %s%s%s%s%s  q quit  h help  b r t p y s a o sort  / filter  space pause",
			       screen->paused ? "PAUSED  " : "", ctl_top_orders[view->order],
			       view->filter[0] != '\0' ? "  filter \"" : "", view->filter,
			       view->filter[0] != '\0' ? "\"" : "",
			       ctl_top_ready(screen->top) ? "" : "  (no rates yet)");
	attron(A_BOLD);
	mvaddnstr(LINES - 1, 0, line, COLS - 1);
	attroff(A_BOLD);
}

static void draw(const struct screen *screen)
{
	char *text = NULL;
	size_t size = 0;
	erase();
	FILE *out = open_memstream(&text, &size);
	if (out != NULL) {
		ctl_top_write(out, &screen->top->view);
		fclose(out);
		draw_text(screen->help ? help_text : text);
		free(text);
	}
	draw_bottom(screen);
	curs_set(screen->typing ? 1 : 0);
	refresh();
}

/* --- sampling ----------------------------------------------------------------------------------------------------- */

/* Seven lines are used besides threads, queues and sessions: the head, two headings, empty lines and the bottom line.
 * The queues are shown where some sessions can be, too. */
static void fit(struct screen *screen)
{
	struct ctl_top_view *view = &screen->top->view;
	size_t threads = json_array_size(json_object_get(view->now.status, "threads"));
	int rows = LINES - 7 - (int)threads, queues = (int)ctl_top_queue_lines(view->now.status);
	view->brief = rows < queues + SESSIONS_LEAST;
	rows -= view->brief ? 0 : queues;
	view->width = COLS > WIDTH_LEAST ? (unsigned)COLS - 1 : WIDTH_LEAST;
	view->rows = rows > 0 ? (unsigned)rows : 1;
}

static void ask(struct screen *screen, uint64_t now)
{
	struct error error;
	screen->failure[0] = '\0';
	if (ctl_top_ask(screen->top, &error) != 0)
		(void)printable_copy(screen->failure, sizeof screen->failure, error.text);
	uint64_t soon = SOON_MS * NS_PER_MS, wait = screen->top->interval;
	if (!ctl_top_ready(screen->top) && soon < wait)
		wait = soon;
	screen->due = now + wait;
	fit(screen);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void type(struct screen *screen, int key)
{
	size_t length = strlen(screen->typed);
	if (key == '\n' || key == '\r' || key == KEY_ENTER) {
		memcpy(screen->top->view.filter, screen->typed, sizeof screen->typed);
		screen->typing = false;
		screen->due = 0;
	} else if (key == KEY_ESCAPE) {
		screen->typing = false;
	} else if (key == KEY_BACKSPACE || key == 127 || key == '\b') {
		screen->typed[length != 0 ? length - 1 : 0] = '\0';
	} else if (key >= ' ' && key <= 0xff && length + 1 < sizeof screen->typed) {
		screen->typed[length] = (char)key;
		screen->typed[length + 1] = '\0';
	}
}

static void start_typing(struct screen *screen)
{
	screen->typing = true;
	memcpy(screen->typed, screen->top->view.filter, sizeof screen->typed);
}

static void sort_by(struct screen *screen, unsigned order)
{
	struct ctl_top_view *view = &screen->top->view;
	view->order = order;
	view->first = 0;
	screen->paused = false;
	screen->due = 0;
}

static bool sort_key(struct screen *screen, int key)
{
	static const char keys[] = "brtpysao"; /* of ctl_top_orders, in turn */
	const char *at = key > 0 && key < 128 ? strchr(keys, key) : NULL;
	unsigned order = screen->top->view.order;
	if (at != NULL)
		sort_by(screen, (unsigned)(at - keys));
	else if (key == '<' || key == '>')
		sort_by(screen, (order + (key == '>' ? 1 : CTL_TOP_ORDERS - 1)) % CTL_TOP_ORDERS);
	else
		return false;
	return true;
}

static void scroll_by(struct screen *screen, int rows)
{
	struct ctl_top_view *view = &screen->top->view;
	int first = (int)view->first + rows, last = CTL_TOP_SESSIONS_MAX - (int)view->rows;
	view->first = (unsigned)(first < 0 ? 0 : first > last ? last : first);
	screen->due = screen->paused ? screen->due : 0;
}

static bool scroll_key(struct screen *screen, int key)
{
	int page = (int)screen->top->view.rows;
	switch (key) {
	case KEY_DOWN:
		scroll_by(screen, 1);
		return true;
	case KEY_UP:
		scroll_by(screen, -1);
		return true;
	case KEY_NPAGE:
		scroll_by(screen, page);
		return true;
	case KEY_PPAGE:
		scroll_by(screen, -page);
		return true;
	case KEY_HOME:
		scroll_by(screen, -CTL_TOP_SESSIONS_MAX);
		return true;
	default:
		return false;
	}
}

static void change_interval(struct screen *screen, bool shorter)
{
	uint64_t *interval = &screen->top->interval;
	uint64_t changed = shorter ? *interval / 2 : *interval * 2;
	if (changed >= NS_PER_S / 8 && changed <= 64 * NS_PER_S)
		*interval = changed;
	screen->due = 0;
}

static void take_key(struct screen *screen, int key)
{
	if (key == KEY_RESIZE) {
		fit(screen);
	} else if (screen->typing) {
		type(screen, key);
	} else if (!sort_key(screen, key) && !scroll_key(screen, key)) {
		switch (key) {
		case 'q':
			screen->done = true;
			break;
		case ' ':
			screen->paused = !screen->paused;
			break;
		case '/':
			start_typing(screen);
			break;
		case 'h':
		case '?':
			screen->help = !screen->help;
			break;
		case '+':
		case '-':
			change_interval(screen, key == '+');
			break;
		default:
			break;
		}
	}
}

/* --- the terminal ------------------------------------------------------------------------------------------------- */

static void loop(struct screen *screen)
{
	while (!screen->done && ended_by == 0) {
		uint64_t now = clock_monotonic(&clock_system);
		if (now >= screen->due && !screen->paused && !screen->typing)
			ask(screen, now);
		draw(screen);
		int key = getch();
		if (key != ERR)
			take_key(screen, key);
	}
}

/* After newterm(), which sets handlers of its own. */
static void handle_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = note_signal};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		(void)sigaction(numbers[i], &action, NULL);
}

int ctl_top_screen(struct ctl_top *top, struct error *error)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return error_set(error, -ENOTTY, "top: this is no terminal; --batch prints plain text");
	(void)setlocale(LC_ALL, "");
	SCREEN *terminal = newterm(NULL, stdout, stdin);
	if (terminal == NULL)
		return error_set(error, -ENOTTY,
				 "top: this terminal (TERM=%s) is not known; set TERM, or --batch prints plain text",
				 getenv("TERM") ?: "");
	handle_signals();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	timeout(WAIT_MS);
	struct screen screen = {.top = top};
	fit(&screen);
	loop(&screen);
	endwin();
	delscreen(terminal);
	return ended_by;
}
