"""Who may receive what: the patient's mailbox, the professionals' mailboxes, the DMP. Doubt is a refusal.

Ways to a wrong mailbox, and what closes each:

* an address typed or copied wrong: the patient's is built from the qualified INS, never taken from the message, and an
  address in the message that differs refuses the patient's mail; a professional's is used only in a plain form;
* a patient's mailbox among the professionals' (or the reverse): patients' mailboxes are recognised by domain and by
  the form of a matricule, and never count as a professional's; a PRT that names one and addresses the other is refused
  on reading, and so is a reply address in a patient's mailbox;
* another patient's document: `pfiflow.segur.identity.check_identity`;
* a doubtful, provisional, test or mistyped identity: only `VALI`, all five traits, one INS, its key right;
* a minor's mailbox, which the legal representatives read, when INVISIBLE_REP_LEGAUX is set;
* a flag that says no: each function looks at its own destination flag first.
"""

from __future__ import annotations

from collections.abc import Collection

from pfiflow.cda.identity import has_valid_key, is_matricule
from pfiflow.cda.values import INS_TEST_ROOTS
from pfiflow.errors import Problem, Rejected
from pfiflow.segur.addresses import PATIENT_DOMAIN, is_mail_address, is_patient_mailbox, same_address
from pfiflow.segur.participations import names_patient
from pfiflow.segur.places import flag_location, recipient_location
from pfiflow.segur.values import Transmission

__all__ = [
    "check_domains",
    "check_recipients",
    "dmp_refusal",
    "patient_address",
    "patient_mail_refusal",
    "professional_recipients",
]

_QUALIFIED = "référentiel INS; ECO.2.2.6"
_MATRIX = "volet Transmission 2.1, règles de gestion MSSanté"
_INCOMPLETE, _DIFFERENT = "905", "904"


def patient_mail_refusal(transmission: Transmission, *, test_platform: bool) -> Problem | None:
    """Why the patient's mail must not go, or None. It refuses that mail alone: the professionals' is not concerned.

    `test_platform` accepts the test INS authorities, whose keys are not checked (official test identities have wrong
    ones). A minor whose document is hidden from the legal representatives is refused although row 3 of the matrix
    would let it pass: the representatives hold a minor's account of Mon espace santé.
    """
    if not transmission.destinations.patient:
        return _refusal("the patient is not a destination", flag_location(transmission, "DESTMSSANTEPAT"))
    if transmission.visibility.hidden_from_patient:
        return _refusal("the document is not visible to the patient", flag_location(transmission, "INVISIBLE_PATIENT"))
    if transmission.visibility.hidden_from_representatives and _is_minor(transmission):
        return _refusal(
            "the document is hidden from the legal representatives, who read a minor's mailbox",
            flag_location(transmission, "INVISIBLE_REP_LEGAUX"),
        )
    return _identity_refusal(transmission, test_platform=test_platform) or _address_refusal(
        transmission, _built_address(transmission, test_platform=test_platform)
    )


def patient_address(transmission: Transmission, *, test_platform: bool) -> str:
    """`<matricule INS>@patient.mssante.fr`. Raises Rejected with `patient_mail_refusal` when the mail must not go."""
    refusal = patient_mail_refusal(transmission, test_platform=test_platform)
    if refusal is not None:
        raise Rejected(refusal)
    return _built_address(transmission, test_platform=test_platform)


def dmp_refusal(transmission: Transmission, *, test_platform: bool) -> Problem | None:
    """Why the document must not be fed to the DMP, or None: no destination, or an INS that is not qualified."""
    if not transmission.destinations.dmp:
        return _refusal("the DMP is not a destination", flag_location(transmission, "DESTDMP"))
    return _identity_refusal(transmission, test_platform=test_platform)


def professional_recipients(transmission: Transmission) -> tuple[str, ...]:
    """The addresses of the professionals, organisations and applications, in order, each mailbox once.

    () when DESTMSSANTEPS is N. A patient's mailbox and an address that is not plain are left out: `check_recipients`
    says so, and `read` refuses such a message.
    """
    if not transmission.destinations.professionals:
        return ()
    found: dict[str, str] = {}
    for recipient in transmission.recipients:
        address = recipient.address
        if is_mail_address(address) and not is_patient_mailbox(address) and not names_patient(recipient):
            found.setdefault(address.lower(), address)
    return tuple(found.values())


def check_recipients(transmission: Transmission) -> tuple[Problem, ...]:
    """What is wrong with the addresses; for a Transmission that was not read from a message, or not by `read`."""
    problems = [
        Problem("102", "not a plain mail address (RFC 5321)", recipient_location(transmission, recipient))
        for recipient in transmission.recipients
        if not is_mail_address(recipient.address)
    ]
    if transmission.destinations.professionals and not professional_recipients(transmission):
        problems.append(Problem("101", "DESTMSSANTEPS is Y, but no professional's address is usable", "PRT"))
    if transmission.reply_to and not is_mail_address(transmission.reply_to):
        problems.append(Problem("102", "the reply address is not a plain mail address (RFC 5321)", "PRT"))
    elif transmission.reply_to and is_patient_mailbox(transmission.reply_to):
        problems.append(Problem("207", "answers would go to a patient's mailbox", "PRT"))
    return tuple(problems)


def check_domains(transmission: Transmission, domains: Collection[str]) -> tuple[Problem, ...]:
    """Recipients, and the reply address, outside of the domains that mails may go to; none given: everywhere.

    A domain stands for those under it. Which ones are MSSanté's is the national list of authorised domains, which the
    operators hold: a mail elsewhere is theirs to refuse, and yours to prevent.
    """

    def outside(address: str) -> bool:
        domain = "." + address.lower().rpartition("@")[2]
        return not any(domain.endswith("." + allowed.lower()) for allowed in domains)

    if not domains:
        return ()
    rule = "setting recipient-domains"
    problems = [
        Problem("207", "the recipient is outside of the domains that mails may go to", where, rule=rule)
        for each in transmission.recipients
        if outside(each.address) and (where := recipient_location(transmission, each))
    ]
    if transmission.reply_to and outside(transmission.reply_to):
        message = "the reply address is outside of the domains that mails may go to"
        problems.append(Problem("207", message, "PRT", rule=rule))
    return tuple(problems)


def _identity_refusal(transmission: Transmission, *, test_platform: bool) -> Problem | None:
    patient = transmission.patient
    ins = patient.qualified_ins(test_platform=test_platform)
    if ins is None:
        missing = ", ".join(patient.missing_for_qualification(test_platform=test_platform))
        hint = ""
        if not test_platform and any(i.authority in INS_TEST_ROOTS for i in patient.ids):
            hint = "; a test INS counts only on a platform set as a test platform"
        return _refusal(f"the INS is not qualified: {missing}{hint}", "PID", _QUALIFIED, _INCOMPLETE)
    if not is_matricule(ins.id):
        return _refusal("the matricule INS has not its form of 15 characters", "PID-3", _QUALIFIED, _INCOMPLETE)
    if ins.authority not in INS_TEST_ROOTS and not has_valid_key(ins.id):
        return _refusal("the key of the matricule INS is wrong: it may be mistyped", "PID-3", _QUALIFIED, _DIFFERENT)
    return None


def _built_address(transmission: Transmission, *, test_platform: bool) -> str:
    ins = transmission.patient.qualified_ins(test_platform=test_platform)
    assert ins is not None, "asked after _identity_refusal"
    return f"{ins.id}@{PATIENT_DOMAIN}"


def _address_refusal(transmission: Transmission, built: str) -> Problem | None:
    """The address of the message must be the one built from the INS, and PRT-5 must name the same INS."""
    for recipient in transmission.recipients:
        about_patient = names_patient(recipient)
        if not about_patient and not is_patient_mailbox(recipient.address):
            continue
        if not same_address(recipient.address, built):
            what = "the patient's address is not the one built from the INS"
        elif about_patient and recipient.person_id and recipient.person_id.upper() != built.partition("@")[0]:
            what = "PRT-5 names another INS than PID-3"
        else:
            continue
        where = recipient_location(transmission, recipient)
        return _refusal(f"{what}: correct it in the CREATEUR", where, _QUALIFIED, _DIFFERENT)
    return None


def _is_minor(transmission: Transmission) -> bool:
    """Under 18 at the time of the message; an unknown birth date counts as a minor's."""
    born, now = transmission.patient.birth_date, transmission.message_time[:8]
    return not (len(born) == len(now) == 8 and (born + now).isdigit()) or int(now) - int(born) < 18_00_00


def _refusal(message: str, location: str, rule: str = _MATRIX, detail: str = "") -> Problem:
    return Problem("207", message, location, rule=rule, detail_code=detail)
