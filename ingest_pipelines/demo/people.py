"""Names, towns and words that the demo's customers are made of."""

FIRST_NAMES = (
    "Oliver", "Amelia", "George", "Isla", "Noah", "Ava", "Arthur", "Ivy", "Muhammad", "Freya", "Leo", "Lily",
    "Oscar", "Florence", "Harry", "Mia", "Archie", "Willow", "Jack", "Rosie", "Henry", "Sophia", "Charlie", "Isabella",
    "Zoë", "Chloé", "François", "Renée", "Jürgen", "Jörg", "Björn", "Søren", "Siân", "Órla", "Łukasz", "Paweł",
    "Zofia", "Małgorzata", "Iñaki", "Begoña", "José", "Lucía", "Ngọc", "Anh", "Priya", "Arjun", "Aisha", "Yusuf",
)  # fmt: skip

LAST_NAMES = (
    "Smith", "Jones", "Taylor", "Brown", "Williams", "Wilson", "Johnson", "Davies", "Patel", "Robinson", "Wright",
    "Thompson", "Evans", "Walker", "White", "Roberts", "Green", "Hall", "Thomas", "Clarke", "Jackson", "Wood", "Khan",
    "O'Brien", "O'Neill", "McCarthy", "Ní Dhomhnaill", "Müller", "Schäfer", "Groß", "Dubois", "Lefèvre", "García",
    "Núñez", "Kowalski", "Wiśniewska", "Zieliński", "van der Berg", "d'Angelo", "Smith-Jones", "Nguyễn", "Singh",
)  # fmt: skip

TOWNS = (
    ("London", "GB"), ("Leeds", "GB"), ("Bristol", "GB"), ("Cardiff", "GB"), ("Glasgow", "GB"), ("Belfast", "GB"),
    ("Stoke-on-Trent", "GB"), ("Newcastle, Tyne and Wear", "GB"), ("Dublin", "IE"), ("Dún Laoghaire", "IE"),
    ("Cork", "IE"), ("Paris", "FR"), ("Orléans", "FR"), ("Köln", "DE"), ("München", "DE"), ("Berlin", "DE"),
    ("Málaga", "ES"), ("A Coruña", "ES"), ("Łódź", "PL"), ("Gdańsk", "PL"), ("Kraków", "PL"),
)  # fmt: skip

STREETS = (
    "High Street", "Station Road", "Church Lane", "Victoria Road", "Mill Lane", "The Green", "Park Avenue", "Quay Walk",
)  # fmt: skip

MAIL_HOSTS = ("example.com", "example.org", "example.net", "mail.example.com", "post.example.org")

PHONES = {
    "GB": "020 7946 0{:03d}", "IE": "+353 1 912 3{:03d}", "FR": "+33 1 99 00 1{:03d}", "DE": "+49 30 23125 {:03d}",
    "ES": "+34 911 234 {:03d}", "PL": "+48 22 123 4{:03d}",
}  # fmt: skip
"""Numbers that regulators keep free for fiction, where they do; British ones as the British write them."""

TIERS = ("Bronze", "Silver", "Gold")

CATEGORIES = (
    "knitwear", "denim", "shoes", "outdoor", "kids", "sports", "accessories", "home", "T-shirts & tops", '"new in"',
)  # fmt: skip

LANGUAGES = ("en-GB", "en-IE", "fr-FR", "de-DE", "es-ES", "pl-PL")
