//! The chain of authenticators: from what somebody shows to the identity he is, the same for every way in.
//!
//! Who shows nothing is anonymous, where that is allowed. Who shows something is who it proves, or nobody: a wrong password
//! never falls back to anonymous.

use super::{
    address::Address,
    certificate::{Certificate, CertificateUser},
    failures::{Failures, Wrong},
    identity::{Identity, Proof},
    jwt::{Claims, TokenFault, Verifier},
    passwords::{Busy, Passwords},
    quota::{Quota, Quotas},
    rules::{Subject, access::Access, files::RuleFiles, rights::Grants},
};
use crate::message::Millis;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What somebody shows.
#[derive(Clone, Copy, Hash)]
pub enum Credentials<'a> {
    /// Nothing.
    Nothing,
    /// A user name and a password.
    Password {
        /// The name.
        user: &'a str,
        /// The password; any bytes.
        password: &'a [u8],
    },
    /// A token.
    Token(&'a str),
}

/// Everything there is to tell by who somebody is.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// In so many words.
    pub credentials: Credentials<'a>,
    /// The client's certificate, if it is known to be genuine.
    pub certificate: Option<&'a Arc<Certificate>>,
    /// Where it comes from; `None` is a socket in the file system.
    pub ip: Option<IpAddr>,
}

/// Why somebody is nobody. What is in it is for the log; the other side is told no more than which of these it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Something must be shown.
    #[error("nothing was shown that proves who it is")]
    Needed,
    /// What was shown proves nothing.
    #[error("{0}")]
    Wrong(String),
    /// It was a good token, and its time is over: no guess.
    #[error("{0}")]
    Expired(String),
    /// Too many are being looked at.
    #[error("too many logins wait to be looked at")]
    Busy,
    /// Nothing was looked at: too much from this address was wrong.
    #[error("too many failed logins from its address")]
    TooManyFailed {
        /// How long the address has to wait.
        wait: Duration,
    },
}

impl From<Busy> for Unproven {
    fn from(_: Busy) -> Self {
        Unproven::Busy
    }
}

/// All authenticators, and the rules that whoever gets through obeys.
#[derive(Default)]
pub struct Chain {
    /// Whether it is enough to show nothing.
    pub anonymous: bool,
    /// The password file.
    pub passwords: Option<Passwords>,
    /// Whose tokens are taken.
    pub tokens: Option<Verifier>,
    /// Which name in a client's certificate is its user, if any is.
    pub certificate_user: Option<CertificateUser>,
    /// The rules, if there are any.
    pub access: Option<Arc<Access>>,
    /// Where they stand.
    pub rule_files: RuleFiles,
    /// Who has to wait, having guessed too often.
    pub failures: Arc<Failures>,
    /// How much everybody may do.
    pub quotas: Arc<Quotas>,
}

impl Chain {
    /// Everybody may come in and do everything.
    pub fn open() -> Self {
        Chain {
            anonymous: true,
            ..Chain::default()
        }
    }

    /// Whether nobody has to show anything, and nothing is ruled.
    pub fn is_open(&self) -> bool {
        self.anonymous && !self.has_authenticators() && self.access.is_none()
    }

    /// Whether anybody can prove who he is.
    pub fn has_authenticators(&self) -> bool {
        self.passwords.is_some() || self.certificate_user.is_some() || self.tokens.is_some()
    }

    /// Whether what proved an identity is as true as it was.
    pub fn still_holds(&self, identity: &Identity) -> bool {
        match (identity.proof(), identity.user(), &self.passwords) {
            (Proof::Password(line), Some(user), Some(passwords)) => {
                passwords.line_of(user) == Some(*line)
            }
            (Proof::Certificate(certificate), ..) => !certificate.is_withdrawn(),
            _ => true,
        }
    }

    /// Whether whoever is known by `identity` is to be heard no longer: it was for so long only, or is withdrawn.
    pub fn is_over(&self, identity: &Identity, now: Millis) -> bool {
        identity.is_expired(now) || !self.still_holds(identity)
    }

    /// Who comes in, as `subject` but for the user and the groups. What is shown in so many words counts, else the
    /// certificate. From an address where too much was wrong nothing is looked at for a while.
    pub async fn prove(&self, shown: Shown<'_>, subject: Subject) -> Result<Identity, Unproven> {
        let named = shown.certificate.zip(self.certificate_user);
        let named =
            named.and_then(|(certificate, by)| Some((certificate, by.name_in(certificate)?)));
        let is_guess = self.has_authenticators()
            && match shown.credentials {
                Credentials::Nothing => false,
                Credentials::Password { user, password } => {
                    !(password.is_empty() && is_named(&named, user))
                }
                Credentials::Token(_) => true,
            };
        let address = Address::of(shown.ip);
        // what it is if it is wrong, by what the password file says now: the next may say something else
        let wrong = self.as_wrong(shown.credentials);
        if is_guess {
            self.admit(address)?;
        }
        let proven = self.look_at(shown, wrong, named, subject).await;
        if is_guess {
            self.note(address, shown.credentials, wrong, &proven);
        }
        proven.map(|identity| self.with_quota(identity, shown.ip))
    }

    async fn look_at(
        &self,
        shown: Shown<'_>,
        if_wrong: Wrong,
        named: Option<Named<'_>>,
        mut subject: Subject,
    ) -> Result<Identity, Unproven> {
        // whoever names himself as his certificate does shows that, and no password
        let by_certificate = match shown.credentials {
            Credentials::Nothing => true,
            Credentials::Password { user, password } => {
                password.is_empty() && is_named(&named, user)
            }
            Credentials::Token(_) => false,
        };
        if let Some((certificate, user)) = named.filter(|_| by_certificate) {
            subject.user = Some(user.into());
            return self.certified(certificate, subject);
        }
        let proof = match shown.credentials {
            // a name that nobody looks at is none
            _ if self.anonymous && !self.has_authenticators() => Proof::None,
            Credentials::Nothing if self.anonymous => Proof::None,
            Credentials::Nothing => return Err(Unproven::Needed),
            Credentials::Password { user, password } => {
                let mut told = "wrong password".to_owned();
                if let Some((tokens, token)) = self.as_token(password) {
                    let claims = tokens.verify_or_fetch(token, now()).await;
                    match self.bearer(claims, subject.clone()) {
                        // that it is no token costs a hash as well, so that time does not tell who has a password
                        Err(Unproven::Wrong(why)) if self.passwords.is_some() => {
                            told = format!("{why}, and no password");
                        }
                        decided => return decided,
                    }
                }
                let passwords = self.passwords.as_ref();
                let passwords = passwords.ok_or_else(|| wrong("no password file is configured"))?;
                let wrong = || Unproven::Wrong(format!("{told} for user {user:?}"));
                let address = Address::of(shown.ip);
                if self.failures.knows(address, if_wrong) {
                    return Err(wrong());
                }
                // others may have been wrong while this one waited for its turn, with the same, too
                let in_turn = || match self.failures.knows(address, if_wrong) {
                    true => Err(wrong()),
                    false => self.admit(address),
                };
                // also if the one who asked is gone before the hash is computed
                let failures = self.failures.clone();
                let if_wrong = move || failures.failed(address, if_wrong, Instant::now());
                let line = passwords.verify(user, password, in_turn, if_wrong).await?;
                let line = line.ok_or_else(wrong)?;
                subject.user = Some(user.into());
                Proof::Password(line)
            }
            Credentials::Token(token) => {
                let claims = self.tokens()?.verify_or_fetch(token, now()).await;
                return self.bearer(claims, subject);
            }
        };
        Ok(Identity::new(subject, self.access.clone()).proven_by(proof))
    }

    /// A connection may go on for longer than its certificate.
    fn certified(
        &self,
        certificate: &Arc<Certificate>,
        subject: Subject,
    ) -> Result<Identity, Unproven> {
        if certificate.is_withdrawn() || certificate.ends <= Millis(now() * 1000) {
            let why = "a certificate that has expired or was withdrawn";
            return Err(Unproven::Expired(why.to_owned()));
        }
        let identity = Identity::new(subject, self.access.clone());
        Ok(identity
            .proven_by(Proof::Certificate(certificate.clone()))
            .proven_only_until(certificate.ends))
    }

    fn admit(&self, address: Address) -> Result<(), Unproven> {
        let admitted = self.failures.admit(address, Instant::now());
        admitted.map_err(|wait| Unproven::TooManyFailed { wait })
    }

    fn note(
        &self,
        address: Address,
        shown: Credentials<'_>,
        wrong: Wrong,
        proven: &Result<Identity, Unproven>,
    ) {
        match (proven, shown) {
            (Ok(_), Credentials::Token(_)) => self.failures.succeeded(address, None),
            // the one who was proven: by a token in the place of a password any name may be said
            (Ok(identity), _) => {
                let user = identity.user().map(|user| self.failures.sum(&**user));
                self.failures.succeeded(address, user);
            }
            // if the line is another one by now, nobody knows which of them the password was compared with
            (Err(Unproven::Wrong(_)), _) if self.as_wrong(shown) == wrong => {
                self.failures.failed(address, wrong, Instant::now());
            }
            (Err(_), _) => {}
        }
    }

    /// What these credentials are to be remembered by if they are wrong.
    fn as_wrong(&self, shown: Credentials<'_>) -> Wrong {
        let user = match shown {
            Credentials::Password { user, .. } => Some(user),
            Credentials::Nothing | Credentials::Token(_) => None,
        };
        let passwords = self.passwords.as_ref();
        let line = user.and_then(|user| passwords?.line_of(user));
        Wrong {
            user: user.map(|user| self.failures.sum(user)),
            sum: self.failures.sum((shown, line)),
        }
    }

    /// `identity` with the quota of its user, or of its address.
    pub fn with_quota(&self, identity: Identity, ip: Option<IpAddr>) -> Identity {
        let quota = self.quotas.of(identity.user(), ip, Instant::now());
        identity.with_quota(quota)
    }

    /// How much somebody without a name may do who comes from there.
    pub fn quota_of_nobody(&self, ip: Option<IpAddr>) -> Option<Arc<Quota>> {
        self.quotas.of(None, ip, Instant::now())
    }

    /// As [`Chain::prove`], for a token alone, of somebody at this address.
    pub async fn prove_by_token(
        &self,
        token: &str,
        ip: Option<IpAddr>,
        subject: Subject,
    ) -> Result<Identity, Unproven> {
        let address = Address::of(ip);
        self.admit(address)?;
        let claims = self.tokens()?.verify_or_fetch(token, now()).await;
        let proven = self.bearer(claims, subject);
        let shown = Credentials::Token(token);
        self.note(address, shown, self.as_wrong(shown), &proven);
        proven.map(|identity| self.with_quota(identity, ip))
    }

    /// Whether an extended authentication from this address may begin.
    pub fn admit_exchange(&self, ip: Option<IpAddr>) -> Result<(), Unproven> {
        self.admit(Address::of(ip))
    }

    /// How an extended authentication from this address ended, in which the client showed this last.
    pub fn note_exchange(&self, ip: Option<IpAddr>, shown: Option<&[u8]>, is_proven: bool) {
        let (address, user) = (Address::of(ip), None);
        match is_proven {
            true => self.failures.succeeded(address, user),
            false => {
                let sum = self.failures.sum(shown);
                let wrong = Wrong { user, sum };
                self.failures.failed(address, wrong, Instant::now());
            }
        }
    }

    /// As [`Chain::prove`] for a token whose key is known: takes no time to speak of. If it is in vain, see
    /// [`Chain::fetch_for`].
    pub fn prove_token(&self, token: &str, subject: Subject) -> Result<Identity, Unproven> {
        let claims = self.tokens()?.verify(token, now());
        self.bearer(claims, subject)
    }

    /// What to await before a token is shown again that was shown in vain; `None` if nothing could change that.
    pub fn fetch_for(&self, token: &str) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.tokens.as_ref()?.fetch_for(token)
    }

    fn tokens(&self) -> Result<&Verifier, Unproven> {
        let tokens = self.tokens.as_ref();
        tokens.ok_or_else(|| wrong("no tokens are taken here"))
    }

    fn bearer(
        &self,
        claims: Result<Claims, TokenFault>,
        mut subject: Subject,
    ) -> Result<Identity, Unproven> {
        let claims = claims.map_err(|fault| {
            let why = format!("a token: {fault}");
            match fault {
                TokenFault::Expired => Unproven::Expired(why),
                _ => Unproven::Wrong(why),
            }
        })?;
        subject.user = Some(claims.user.into());
        subject.groups = claims.groups.into_iter().map(Into::into).collect();
        let expires = Millis(claims.expires.saturating_mul(1000));
        let mut identity = Identity::new(subject, self.access.clone())
            .proven_by(Proof::Token)
            .proven_only_until(expires);
        if let Some(rights) = claims.rights {
            identity = identity.with_token(Grants::from(rights));
        }
        match claims.client_id {
            None => Ok(identity),
            Some(client_id) => identity
                .only_as(client_id.into())
                .ok_or_else(|| wrong("a token for another client identifier")),
        }
    }

    /// Clients that cannot send a token otherwise send it as their password. Its shape decides, never who is named:
    /// that would tell who has a password.
    fn as_token<'a>(&self, password: &'a [u8]) -> Option<(&Verifier, &'a str)> {
        let tokens = self.tokens.as_ref()?;
        let text = std::str::from_utf8(password).ok()?;
        let has_shape = text.bytes().filter(|byte| *byte == b'.').count() == 2;
        has_shape.then_some((tokens, text))
    }
}

/// A certificate, and the name in it that is a user.
type Named<'a> = (&'a Arc<Certificate>, String);

fn is_named(named: &Option<Named<'_>>, user: &str) -> bool {
    named.as_ref().is_some_and(|(_, name)| name == user)
}

/// By the wall clock, as tokens mean it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn wrong(why: &str) -> Unproven {
    Unproven::Wrong(why.to_owned())
}

#[cfg(test)]
mod tests;
