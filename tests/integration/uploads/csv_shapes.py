"""Files as the software that writes them shapes them, each with its true dialect as a person reads it off.

Nothing here asks the product how a file is read: `independent_phones` reads each with Python's csv module and the
dialect that stands beside it. The contents are made up; the shapes are those of the named programs' exports.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

PHONES = ("+14155550101", "(212) 555-0102", "n/a", "416.555.0103", "", "1-604-555-0104", "4155550105")
NAMES = ("Ada Lovelace", "José Núñez", 'Grace "Amazing" Hopper', "O'Neil, Shaun", "", "Zoë", "Renée\nof Paris")


@dataclass(frozen=True)
class Shape:
    """A file: how it is written, and which column has the phone number."""

    software: str
    columns: tuple[str, ...]
    phone: str
    delimiter: str = ","
    encoding: str = "utf-8"
    line_ending: str = "\r\n"
    quoting: int = csv.QUOTE_MINIMAL
    before: str = ""
    """What stands before the header, which a reader must skip."""
    after: str = ""
    """What stands behind the last row."""
    prefix: str = ""
    """What the software writes before each number."""
    blank: str = ""
    """What stands behind each delimiter."""
    escape: str | None = None
    """What stands before a quote within a cell, instead of a second quote."""
    refusal: str = ""
    """What the refusal says, for a file that cannot be read without guessing."""
    rows: list[list[str]] = field(default_factory=list)

    def all_rows(self) -> list[list[str]]:
        """The rows, made of names and phone numbers unless they are given."""
        return self.rows or [self._row(number) for number in range(len(PHONES))]

    def _row(self, number: int) -> list[str]:
        phone, name = self.prefix + PHONES[number] if PHONES[number] else "", NAMES[number]
        name = name.encode(self.encoding, "ignore").decode(self.encoding)
        return [phone if column == self.phone else name for column in self.columns]

    def content(self) -> bytes:
        """The file."""
        text = io.StringIO(newline="")
        writer = csv.writer(
            text,
            delimiter=self.delimiter,
            lineterminator=self.line_ending,
            quoting=self.quoting,  # type: ignore[arg-type]  # csv.QUOTE_… are plain integers
            escapechar=self.escape,
            doublequote=self.escape is None,
        )
        writer.writerow(self.columns)
        writer.writerows(self.all_rows())
        written = text.getvalue()
        if self.blank:
            written = written.replace(f'{self.delimiter}"', f'{self.delimiter}{self.blank}"')
        return (self.before + written + self.after).encode(self.encoding)

    def independent_phones(self) -> Iterator[str]:
        """The cells of the phone column, as Python's csv module reads them with the dialect above."""
        text = self.content().decode(self.encoding).removeprefix(self.before)
        index = self.columns.index(self.phone)
        rows = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.delimiter,
            skipinitialspace=bool(self.blank),
            escapechar=self.escape,
            doublequote=self.escape is None,
        )
        for cells in rows:
            if cells and cells != list(self.columns):
                yield cells[index] if index < len(cells) else ""


ALL, BASIC = csv.QUOTE_ALL, csv.QUOTE_MINIMAL
_BOM, _16 = "utf-8-sig", "utf-16"
_LF = "\n"


def _shape(software: str, columns: str, phone: str, **how: object) -> Shape:
    """`columns` are separated by bars, since no software here has one in a name."""
    return Shape(software, tuple(columns.split("|")), phone, **how)  # type: ignore[arg-type]  # fields by name


SHAPES = [
    # Spreadsheets
    _shape("Excel, CSV, United States", "Name|Phone", "Phone", encoding="cp1252"),
    _shape("Excel, CSV UTF-8", "Name|Phone", "Phone", encoding=_BOM),
    _shape("Excel, CSV, Germany", "Name|Telefon", "Telefon", encoding="cp1252", delimiter=";"),
    _shape("Excel, CSV UTF-8, France", "Prénom|Téléphone", "Téléphone", encoding=_BOM, delimiter=";"),
    _shape("Excel, CSV, Italy, commas in names", "Nome, cognome|Telefono, casa|Tel", "Tel", delimiter=";"),
    _shape("Excel, Unicode Text", "Name|Phone", "Phone", encoding=_16, delimiter="\t"),
    _shape("Excel, Text (tab delimited)", "Name|Phone", "Phone", encoding="cp1252", delimiter="\t"),
    _shape("Excel, CSV (Macintosh)", "Name|Phone", "Phone", encoding="mac_roman", line_ending="\r"),
    _shape("Excel, CSV (MS-DOS)", "Name|Phone", "Phone", encoding="cp437"),
    _shape("Excel with sep=;", "Name|Phone", "Phone", before="sep=;\r\n", delimiter=";"),
    _shape("Excel with sep=, and a mark", "Name|Phone", "Phone", before="sep=,\r\n", encoding=_BOM),
    _shape("Excel with sep=\\t", "Name|Phone", "Phone", before="sep=\t\r\n", delimiter="\t"),
    _shape("Excel, header cells with line breaks", "Full\nname|Phone\nnumber", "Phone\nnumber", encoding=_BOM),
    _shape("Excel, trailing empty columns", "Name|Phone||", "Phone"),
    _shape("LibreOffice Calc", "Name|Phone", "Phone", line_ending=_LF),
    _shape("LibreOffice Calc, all text quoted", "Name|Phone", "Phone", quoting=ALL, line_ending=_LF),
    _shape("LibreOffice Calc, bar", "Name|Phone", "Phone", delimiter="|", line_ending=_LF),
    _shape("LibreOffice Calc, UTF-16", "Name|Phone", "Phone", encoding=_16, line_ending=_LF),
    _shape("Gnumeric", "Name|Phone", "Phone", line_ending=_LF),
    _shape("Apple Numbers", "Name|Phone|Notes", "Phone", delimiter=";", encoding=_BOM),
    _shape("Google Sheets", "Name|Phone|Notes", "Phone"),
    _shape("Airtable", "Name|Phone|Attachments", "Phone", encoding=_BOM, line_ending=_LF),
    _shape("Notion", "Name|Phone|Tags", "Phone", encoding=_BOM, line_ending=_LF),
    _shape("Smartsheet", "Primary Column|Phone|Done", "Phone", line_ending=_LF),
    # Address books
    _shape("Google Contacts", "Name|Given Name|Family Name|Phone 1 - Type|Phone 1 - Value", "Phone 1 - Value"),
    _shape("Outlook", "First Name|Business Phone|Mobile Phone|Notes", "Mobile Phone", quoting=ALL, encoding="cp1252"),
    _shape("Outlook on the web", "First Name|Mobile Phone|Notes", "Mobile Phone", encoding=_BOM),
    _shape("Thunderbird", "First Name|Display Name|Mobile Number", "Mobile Number", line_ending=_LF),
    _shape("Yahoo Contacts", "First|Last|Mobile", "Mobile", quoting=ALL, line_ending=_LF),
    _shape("LinkedIn connections", "First Name|Last Name|Phone", "Phone",
           before='Notes:\n"When exporting your connection data, you may notice gaps."\n\n', line_ending=_LF,
           refusal="Line 4 has it: if that is the header, remove lines 1 to 3."),
    _shape("Android, Contacts to CSV", "id|Display Name|Mobile Phone", "Mobile Phone", quoting=ALL),
    _shape("Avaya directory", "Name|Number|Category", "Number", encoding="cp1252"),
    # Customer relations
    _shape("Salesforce report", "Account Name|Phone|Fax", "Phone", quoting=ALL, encoding="latin-1", line_ending=_LF,
           after='\n\n"Contacts"\n"Copyright (c) 2000-2026 salesforce.com, inc."\n"Confidential"\n'),
    _shape("Salesforce Data Loader", "ID|NAME|PHONE", "PHONE", quoting=ALL, line_ending=_LF),
    _shape("HubSpot", "Record ID|First Name|Phone Number", "Phone Number", quoting=ALL, line_ending=_LF),
    _shape("Pipedrive", "Person - Name|Person - Phone - Work|Person - ID", "Person - Phone - Work", quoting=ALL),
    _shape("Zoho CRM", "Record Id|Full Name|Mobile", "Mobile", encoding=_BOM, line_ending=_LF),
    _shape("Microsoft Dynamics", "(Do Not Modify) Contact|Full Name|Mobile Phone", "Mobile Phone"),
    _shape("SugarCRM", "Name|Phone Mobile|Account", "Phone Mobile", quoting=ALL),
    _shape("Freshsales", "Id|Name|Mobile", "Mobile", line_ending=_LF),
    _shape("Copper", "Copper ID|Name|Phone Number", "Phone Number", line_ending=_LF),
    _shape("NationBuilder", "nationbuilder_id|full_name|mobile_number", "mobile_number", line_ending=_LF),
    _shape("Bloomerang", "Account Number|Name|Phone Number", "Phone Number", quoting=ALL),
    _shape("Raiser's Edge", "CnBio_Name|CnPh_1_01_Phone_number", "CnPh_1_01_Phone_number", quoting=ALL,
           encoding="cp1252"),
    # Marketing and shops
    _shape("Mailchimp", "Email Address|First Name|Phone Number", "Phone Number", line_ending=_LF),
    _shape("Klaviyo", "Email|First Name|Phone Number|Consent", "Phone Number", line_ending=_LF),
    _shape("Constant Contact", "Email address|First name|Phone - mobile", "Phone - mobile", quoting=ALL),
    _shape("ActiveCampaign", "Email|First Name|Phone", "Phone", quoting=ALL, line_ending=_LF),
    _shape("SendGrid", "EMAIL|FIRST_NAME|PHONE_NUMBER_ID", "PHONE_NUMBER_ID", line_ending=_LF),
    _shape("Meta lead ads", "id|full_name|phone_number", "phone_number", encoding=_16, delimiter="\t", prefix="p:"),
    _shape("Google Ads lead form", "Lead ID|Name|User Phone", "User Phone", encoding=_16, delimiter="\t"),
    _shape("Shopify customers", "First Name|Email|Phone|Note", "Phone", prefix="'", line_ending=_LF),
    _shape("WooCommerce", "ID|Billing First Name|Billing Phone", "Billing Phone", encoding=_BOM, line_ending=_LF),
    _shape("Magento", "Email|Name|Telephone", "Telephone", quoting=ALL, line_ending=_LF),
    _shape("PrestaShop", "ID|Nom|Téléphone", "Téléphone", delimiter=";", line_ending=_LF),
    _shape("Stripe customers", "id|Name|Phone", "Phone", line_ending=_LF),
    _shape("Etsy orders", "Order ID|Ship Name|Phone", "Phone", quoting=ALL, line_ending=_LF,
           rows=[["1", "Zoë", '="4155550101"'], ["2", "Max", '="+1 (212) 555-0102"'], ["3", "Ida", '=""']]),
    _shape("Square", "Reference ID|First Name|Phone Number", "Phone Number", quoting=ALL),
    _shape("eBay orders", "Buyer Name|Buyer Phone", "Buyer Phone", quoting=ALL, encoding=_BOM,
           after='\n\n"2","record(s) downloaded"\n'),
    _shape("Amazon order report", "order-id|buyer-name|buyer-phone-number", "buyer-phone-number", delimiter="\t",
           encoding="cp1252", rows=[["1", "Zoë", "+14155550101"], ["2", "Max", "n/a"]]),
    # Forms and events
    _shape("Google Forms", "Timestamp|Your name|What is your phone number?\n(with area code)",
           "What is your phone number?\n(with area code)"),
    _shape("Typeform", "#|What's your name?|Your *phone*?|Submit Date", "Your *phone*?", line_ending=_LF),
    _shape("SurveyMonkey", "Respondent ID|Phone|Name", "Phone", rows=[["", "Open-Ended Response", ""],
           ["1", "+14155550101", "Ada"]]),
    _shape("Qualtrics", "StartDate|Q1|Q2", "Q2", encoding=_BOM, rows=[["Start Date", "Your\nname", "Your phone"],
           ['{"ImportId":"startDate"}', '{"ImportId":"QID1"}', '{"ImportId":"QID2"}'], ["1", "Ada", "2125550102"]]),
    _shape("KoboToolbox", "start|name|phone", "phone", delimiter=";", quoting=ALL, line_ending=_LF),
    _shape("LimeSurvey", "id. Response ID|name. Name|tel. Phone", "tel. Phone", encoding=_BOM, quoting=ALL),
    _shape("REDCap", "record_id|first_name|phone", "phone", encoding=_BOM, line_ending=_LF),
    _shape("Jotform", "Submission Date|Name|Phone Number", "Phone Number", encoding=_BOM, quoting=ALL, line_ending=_LF),
    _shape("Eventbrite", "Order #|First Name|Cell Phone", "Cell Phone", line_ending=_LF),
    _shape("Calendly", "Invitee Name|Text Reminder Number", "Text Reminder Number", line_ending=_LF),
    # Support and work
    _shape("Zendesk", "id|name|phone", "phone", line_ending=_LF),
    _shape("Freshdesk", "Full Name|Work phone|Mobile phone", "Mobile phone", line_ending=_LF),
    _shape("Intercom", "Name|Phone|Last seen", "Phone", encoding=_BOM, line_ending=_LF),
    _shape("Jira", "Summary|Custom field (Phone)|Custom field (Phone)", "Custom field (Phone)", line_ending=_LF,
           rows=[["Call", "+14155550101", "n/a"]]),
    _shape("ServiceNow", "name|mobile_phone|u_notes", "mobile_phone", quoting=ALL, encoding="cp1252"),
    _shape("Asana", "Task ID|Name|Phone", "Phone", line_ending=_LF),
    # Telephony
    _shape("Twilio call log", "Call Sid|From|To|Status", "To", quoting=ALL, line_ending=_LF),
    _shape("RingCentral call log", "Type|Phone Number|Name", "Phone Number", encoding=_BOM),
    _shape("3CX", "Call Time|Caller ID|Destination", "Destination", delimiter=",", quoting=ALL),
    _shape("Asterisk CDR", "accountcode|src|dst|clid", "dst", quoting=ALL, line_ending=_LF,
           rows=[["", "+14155550101", "2125550102", '"Ada" <4155550101>'], ["", "", "s", "<unknown>"]]),
    _shape("Cisco CUCM CDR", "cdrRecordType|callingPartyNumber", "callingPartyNumber", quoting=ALL, line_ending=_LF,
           rows=[["INTEGER", "VARCHAR(50)"], ["1", "+14155550101"]]),
    _shape("VICIdial list", "vendor_lead_code|phone_number|first_name", "phone_number", delimiter="\t", line_ending=_LF,
           rows=[["1", "4155550101", "Ada"], ["2", "", "Max"]]),
    _shape("VICIdial, bar", "lead_id|phone_number|comments", "phone_number", delimiter="|", line_ending=_LF),
    _shape("Five9", "number1|first_name|last_name", "number1"),
    # Databases and languages
    _shape("PostgreSQL COPY CSV", "id|name|phone", "phone", line_ending=_LF),
    _shape("SQLite .mode csv", "name|phone", "phone"),
    _shape("MySQL Workbench", "id|name|phone", "phone", delimiter=";", quoting=ALL, line_ending=_LF),
    _shape("phpMyAdmin", "name|phone", "phone", quoting=ALL, line_ending=_LF),
    _shape("SQL Server Management Studio", "Name|Phone", "Phone", encoding=_BOM, rows=[["Ada", "4155550101"],
           ["NULL", "NULL"]]),
    _shape("Oracle SQL Developer", "NAME|PHONE", "PHONE", quoting=csv.QUOTE_NONNUMERIC, encoding="cp1252",
           line_ending=_LF),
    _shape("Microsoft Access", "Name|Phone", "Phone", delimiter=";", quoting=ALL, encoding="cp1252"),
    _shape("FileMaker", "Name|Phone", "Phone", line_ending="\r", encoding="mac_roman", quoting=ALL),
    _shape("DBeaver", "name|phone", "phone", quoting=BASIC, line_ending=_LF),
    _shape("Power BI", "Name|Phone", "Phone", encoding=_BOM),
    _shape("Tableau crosstab", "Name|Phone", "Phone", encoding=_16, delimiter="\t"),
    _shape("Metabase", "Name|Phone", "Phone", line_ending=_LF),
    _shape("Grafana for Excel", "Name|Phone", "Phone", before="sep=;\n", delimiter=";", encoding=_BOM, line_ending=_LF),
    _shape("pandas with its index", "|name|phone", "phone", line_ending=_LF),
    _shape("pandas, numbers as floats", "name|phone", "phone", line_ending=_LF,
           rows=[["Ada", "4155550101.0"], ["Max", ""]]),
    _shape("R write.csv", "|name|phone", "phone", quoting=ALL, line_ending=_LF),
    _shape("R write.table with commas", "name|phone|city", "phone", quoting=ALL, escape="\\", line_ending=_LF),
    _shape("MySQL Shell, escaped", "id|name|phone", "phone", escape="\\", quoting=ALL, line_ending=_LF,
           rows=[["1", 'Grace "Amazing" Hopper, Ph.D.', "4155550101"], ["2", "C:\\", "+12125550102"]]),
    _shape("Mathematica", "name|phone|city", "phone", quoting=ALL, blank=" ", line_ending=_LF),
    _shape("data.gov, a blank behind commas", "id|name|phone", "phone", blank=" ", line_ending=_LF,
           rows=[["1", "Lovelace, Ada", "(212) 555-0102"], ["2", "Max", "416,555,0103"]]),
    _shape("SAP, semicolons and blanks", "Name|Ort|Telefon", "Telefon", delimiter=";", quoting=ALL, blank="  "),
    _shape("R write.csv2", "|name|phone", "phone", quoting=ALL, delimiter=";", line_ending=_LF),
    _shape("SAS PROC EXPORT", "name|phone", "phone", encoding="latin-1"),
    _shape("SPSS", "name|phone", "phone", encoding=_BOM),
    _shape("Stata export delimited", "name|phone", "phone", line_ending=_LF),
    _shape("PowerShell 5 Export-Csv", "Name|Phone", "Phone", quoting=ALL,
           before="#TYPE System.Management.Automation.PSCustomObject\r\n"),
    _shape("PowerShell 7 Export-Csv", "Name|Phone", "Phone", quoting=ALL, line_ending=_LF),
    _shape("PHP fputcsv", "name|phone", "phone", line_ending=_LF),
    _shape("Ruby CSV", "name|phone", "phone", line_ending=_LF),
    _shape("SAP list, bar and spaces", " Name | Telephone ".replace("|", "/"), "Telephone", delimiter="|",
           refusal="such as ' Name / Telephone '."),
    _shape("QuickBooks report with a title", "Customer|Phone|Balance", "Phone",
           refusal="Line 4 has it: if that is the header, remove lines 1 to 3.",
           before='"Customer Contact List"\r\n"Acme Inc."\r\n\r\n'),
    _shape("A licence register without a header", "EN|KD2ABC|+14155550199", "phone", refusal="columns' names above it"),
    _shape("KNIME, single quotes", "'name'|'phone'", "phone", refusal="save it with double quotes"),
    _shape("A line in quotes as a whole", "name,phone", "phone", quoting=ALL, refusal="remove the quotes"),
    _shape("Hive, Unit separators", "name\x1fphone", "phone", refusal="Something else stands between its cells"),
    _shape("DATEV", "Konto|Name|Telefon", "Telefon", delimiter=";", encoding="cp1252",
           refusal="Line 2 has it: if that is the header, remove line 1.",
           before='"EXTF";700;16;"Debitoren/Kreditoren"\r\n'),
]  # fmt: skip
