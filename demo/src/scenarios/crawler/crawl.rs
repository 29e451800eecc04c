//! The crawl: which pages are known, which are being fetched, and what came of those that were.
//!
//! ```text
//!               ┌─ host a:  waiting ... ── 4 being fetched at most ─┐
//!   frontier ───┼─ host b:  waiting ...                             ├──> fetchers: next, fetch, done ──┐
//!               └─ host c:  waiting ...                             ┘                                  │
//!        ^                                                                                             │
//!        └──── links that nobody has seen, redirects ────────────────────────────────────────────────┘
//! ```
//!
//! The lock and the condition are the runtime's, so a fetcher may be a thread or a coroutine.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use runtime::sync::{Condvar, Mutex};

use super::address::{Unfit, Url};
use super::fetch::{Answer, Model, fetch};
use super::page::links;

/// How far a crawl goes, and how polite it is.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The hosts, with their ports, that it stays within.
    pub hosts: BTreeSet<String>,
    /// No more pages are asked for.
    pages_max: usize,
    /// So many requests to a host may be under way at a time.
    pub per_host: usize,
    /// So long may one take.
    pub patience: Duration,
}

/// A redirect may lead to another, this often.
const REDIRECTS_MAX: usize = 5;

impl Rules {
    /// Politeness towards `hosts`: four requests at a time for each.
    pub fn new(hosts: BTreeSet<String>, pages_max: usize, patience: Duration) -> Rules {
        Rules {
            hosts,
            pages_max,
            per_host: 4,
            patience,
        }
    }
}

/// A page that is to be fetched.
#[derive(Clone, Debug)]
pub struct Task {
    url: Url,
    /// The addresses that have redirected to it, the first first.
    redirected_by: Vec<Url>,
    /// The page with the link to it.
    linked_by: Option<Url>,
}

/// What could not be fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// It.
    pub url: Url,
    /// The page with the link to it; `None` of the first.
    pub linked_by: Option<Url>,
    /// What is wrong.
    pub why: String,
}

/// What came of a crawl.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Pages that were fetched and read.
    pub pages: usize,
    /// Answers that were no HTML.
    pub others: usize,
    /// Links to what was known already.
    pub duplicates: usize,
    /// Redirects that were followed.
    pub redirects: usize,
    /// Links that lead to another host.
    pub outside: usize,
    /// Links to what is not fetched, with the reason.
    pub unfit: BTreeMap<String, usize>,
    /// Whatever could not be fetched.
    pub broken: Vec<Broken>,
    /// Pages that were left because there are too many.
    pub left: usize,
}

#[derive(Default)]
struct Host {
    waiting: VecDeque<Task>,
    busy: usize,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, Host>,
    seen: HashSet<Url>,
    waiting: usize,
    busy: usize,
    taken: usize,
    report: Report,
}

/// The pages that are known and not fetched yet.
pub struct Frontier {
    rules: Rules,
    state: Mutex<State>,
    changed: Condvar,
}

impl Frontier {
    /// The one of a crawl that begins at `start`.
    pub fn new(start: Url, rules: Rules) -> Frontier {
        let frontier = Frontier {
            rules,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        };
        let task = Task {
            url: start.clone(),
            redirected_by: Vec::new(),
            linked_by: None,
        };
        let mut state = frontier.state.lock();
        state.seen.insert(start);
        state.add(task);
        drop(state);
        frontier
    }

    /// The next page to fetch, as soon as its host may be asked; `None` when all are done.
    fn next(&self) -> Option<Task> {
        let mut state = self.state.lock();
        loop {
            if state.taken == self.rules.pages_max || state.waiting + state.busy == 0 {
                return None;
            }
            if let Some(task) = state.take(self.rules.per_host) {
                return Some(task);
            }
            state = self.changed.wait(state);
        }
    }

    /// Takes note of what came of `task`.
    fn done(&self, task: Task, outcome: Result<Answer, String>) {
        // Outside of the lock: it takes a while.
        let outcome = outcome.map(|answer| match answer {
            Answer::Page(html) => Found::Links(links(&html, &task.url)),
            Answer::Other => Found::Other,
            Answer::Redirect(target) => Found::Redirect(task.url.join(&target)),
        });
        let mut state = self.state.lock();
        let before = state.waiting;
        state.release(&task.url);
        match outcome {
            Ok(Found::Links(links)) => {
                state.report.pages += 1;
                links
                    .into_iter()
                    .for_each(|link| state.follow(&self.rules, &task, link));
            }
            Ok(Found::Other) => state.report.others += 1,
            Ok(Found::Redirect(target)) => state.redirect(&self.rules, task, target),
            Err(why) => state.broken(task, why),
        }
        let is_over = state.waiting + state.busy == 0 || state.taken == self.rules.pages_max;
        let more = (state.waiting - before.min(state.waiting)) + 1;
        drop(state);
        if is_over {
            self.changed.notify_all();
        } else {
            (0..more).for_each(|_| self.changed.notify_one());
        }
    }

    /// What has come of it, once the fetchers have ended.
    pub fn report(&self) -> Report {
        let state = self.state.lock();
        Report {
            left: state.waiting,
            ..state.report.clone()
        }
    }
}

/// What was found at an address.
enum Found {
    Links(Vec<Result<Url, Unfit>>),
    Other,
    Redirect(Result<Url, Unfit>),
}

impl State {
    fn add(&mut self, task: Task) {
        self.waiting += 1;
        let host = self.hosts.entry(task.url.authority()).or_default();
        host.waiting.push_back(task);
    }

    fn take(&mut self, per_host: usize) -> Option<Task> {
        let mut hosts = self.hosts.values_mut();
        let host = hosts.find(|host| host.busy < per_host && !host.waiting.is_empty())?;
        host.busy += 1;
        let task = host.waiting.pop_front();
        self.waiting -= 1;
        self.busy += 1;
        self.taken += 1;
        task
    }

    fn release(&mut self, url: &Url) {
        self.busy -= 1;
        if let Some(host) = self.hosts.get_mut(&url.authority()) {
            host.busy -= 1;
        }
    }

    fn broken(&mut self, task: Task, why: String) {
        self.report.broken.push(Broken {
            url: task.url,
            linked_by: task.linked_by,
            why,
        });
    }

    fn follow(&mut self, rules: &Rules, from: &Task, link: Result<Url, Unfit>) {
        match link {
            Err(why) => *self.report.unfit.entry(why.to_string()).or_default() += 1,
            Ok(url) if !rules.hosts.contains(&url.authority()) => self.report.outside += 1,
            Ok(url) if !self.seen.insert(url.clone()) => self.report.duplicates += 1,
            Ok(url) => self.add(Task {
                url,
                redirected_by: Vec::new(),
                linked_by: Some(from.url.clone()),
            }),
        }
    }

    fn redirect(&mut self, rules: &Rules, mut from: Task, target: Result<Url, Unfit>) {
        let url = match target {
            Err(why) => {
                return self.broken(from, format!("redirected to what cannot be fetched: {why}"));
            }
            Ok(url) => url,
        };
        from.redirected_by.push(from.url.clone());
        if from.redirected_by.contains(&url) {
            return self.broken(from, "redirected in a circle".to_owned());
        }
        if from.redirected_by.len() > REDIRECTS_MAX {
            return self.broken(from, format!("redirected more than {REDIRECTS_MAX} times"));
        }
        self.report.redirects += 1;
        if !rules.hosts.contains(&url.authority()) {
            self.report.outside += 1;
        } else if self.seen.insert(url.clone()) {
            self.add(Task { url, ..from });
        } else {
            self.report.duplicates += 1;
        }
    }
}

// excerpt: fetcher
/// A fetcher's life, the same in a thread and in a coroutine; `M` says whose sockets it uses.
pub fn fetcher<M: Model>(frontier: &Frontier) {
    while let Some(task) = frontier.next() {
        let outcome = fetch::<M>(&task.url, frontier.rules.patience);
        frontier.done(task, outcome);
    }
}
// excerpt: end
