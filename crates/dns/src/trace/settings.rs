//! What a `resolv.conf` tells the resolver.

use std::net::IpAddr;
use std::time::Duration;

use api::resolv::NAMESERVERS_MAX;

/// The settings of a resolver, with glibc's defaults and bounds (`resolv.conf(5)`).
///
/// The kubelet reads the same file in another way ([`api::resolv`]): to it the last `options` line wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who is asked; its own machine if nobody is named.
    pub nameservers: Vec<IpAddr>,
    /// What is appended to names, in that order.
    pub searches: Vec<String>,
    /// A name with at least so many dots is tried as it is first.
    pub ndots: usize,
    /// How long a server has time.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: u32,
    /// Whether queries go by TCP.
    pub use_vc: bool,
    /// Whether they say that longer answers can be taken.
    pub edns0: bool,
    /// Whether a name without dots is not tried as it is.
    pub no_tld_query: bool,
    /// Whether only IPv4 addresses are asked for.
    pub no_aaaa: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nameservers: vec![],
            searches: vec![],
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            use_vc: false,
            edns0: false,
            no_tld_query: false,
            no_aaaa: false,
        }
    }
}

impl Settings {
    /// Reads a file. What the resolver does not know it passes over; what `rotate` leaves to chance is not
    /// followed.
    ///
    /// glibc also guesses a search domain from the machine's name where the file has none; a pod's always
    /// has one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    settings.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("domain") => settings.searches = words.next().map(str::to_owned).into_iter().collect(),
                Some("search") => settings.searches = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        settings.nameservers.truncate(NAMESERVERS_MAX);
        if settings.nameservers.is_empty() {
            settings.nameservers.push(std::net::Ipv4Addr::LOCALHOST.into());
        }
        settings
    }

    fn option(&mut self, word: &str) {
        let number = |most: usize| {
            let (_, digits) = word.split_once(':')?;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            // `atoi(3)`: no digits are 0.
            Some(digits[..end].parse::<usize>().unwrap_or(if end == 0 { 0 } else { most }).min(most))
        };
        match word.split(':').next().unwrap_or_default() {
            "ndots" => self.ndots = number(15).unwrap_or(self.ndots),
            "timeout" => {
                let seconds = number(30).map(|seconds| Duration::from_secs(seconds as u64));
                self.timeout = seconds.unwrap_or(self.timeout);
            }
            "attempts" => {
                self.attempts = number(5).and_then(|n| u32::try_from(n).ok()).unwrap_or(self.attempts);
            }
            "use-vc" => self.use_vc = true,
            "edns0" => self.edns0 = true,
            "no-tld-query" => self.no_tld_query = true,
            "no-aaaa" => self.no_aaaa = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_glibc_reads_it() {
        let pod = Settings::parse(
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 100.64.0.10\n\
             options ndots:5\n",
        );
        assert_eq!(pod.nameservers, ["100.64.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!((pod.searches.len(), pod.ndots, pod.attempts, pod.timeout.as_secs()), (3, 5, 2, 5));

        let empty = Settings::parse("");
        assert_eq!(empty.nameservers, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!((empty.searches.len(), empty.ndots), (0, 1));

        let odd = Settings::parse(
            "; a\n# b\nnameserver nonsense\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver ::1\n\
             nameserver 192.0.2.4\nsearch a\ndomain b\noptions ndots:99 timeout:99999999999999999999\n\
             options attempts:0 edns0 use-vc no-tld-query no-aaaa rotate unknown ndots timeout:x\n",
        );
        assert_eq!(odd.nameservers.len(), 3);
        assert_eq!(odd.searches, ["b"]);
        assert_eq!((odd.ndots, odd.timeout.as_secs(), odd.attempts), (15, 0, 0));
        assert!(odd.edns0 && odd.use_vc && odd.no_tld_query && odd.no_aaaa);
    }
}
